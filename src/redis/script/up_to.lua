-- ARGV: a token, and how many at most.
local granted, after, after_part = fit(tonumber(ARGV[6]))
if granted > 0 then
    put(after, after_part)
end
return {debt, debt_part}
