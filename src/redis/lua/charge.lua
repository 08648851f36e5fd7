-- ARGV: the cost, and the most that a debt can be, in whole microseconds.
local after, after_part = add(debt, debt_part, tonumber(ARGV[4]), tonumber(ARGV[5]))
local most = tonumber(ARGV[6])
if is_over(after, after_part, most, 0) then
    after, after_part = most, 0
end
put(after, after_part)
return {debt, debt_part}
