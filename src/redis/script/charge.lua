-- ARGV: the cost, and the most that a charge leaves missing. A line of places goes further: then
-- nothing is added.
local after, after_part = add(debt, debt_part, tonumber(ARGV[4]), tonumber(ARGV[5]))
local most, most_part = tonumber(ARGV[6]), tonumber(ARGV[7])
if is_over(after, after_part, most, most_part) then
    after, after_part = most, most_part
end
if is_over(after, after_part, debt, debt_part) then
    put(after, after_part)
end
return {debt, debt_part}
