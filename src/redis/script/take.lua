-- ARGV: the cost.
local after, after_part = add(debt, debt_part, tonumber(ARGV[4]), tonumber(ARGV[5]))
if not is_over(after, after_part, burst, burst_part) then
    put(after, after_part)
end
return {debt, debt_part}
