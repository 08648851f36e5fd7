-- ARGV: the cost, and how far the debt may go: the burst, and as long as somebody waits. The time is for the
-- caller to know where the place is that this makes.
local after, after_part = add(debt, debt_part, tonumber(ARGV[4]), tonumber(ARGV[5]))
if not is_over(after, after_part, tonumber(ARGV[6]), tonumber(ARGV[7])) then
    put(after, after_part)
end
return {debt, debt_part, now}
