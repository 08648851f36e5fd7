-- ARGV: where flow ends that nobody has used, and its cost. It comes back whole, as if it had never
-- been taken, if it is the end of the line: a line that ends before it has lost it, and one that
-- goes on has been told its places.
local ends, ends_part = tonumber(ARGV[4]), tonumber(ARGV[5])
local back, back_part = tonumber(ARGV[6]), tonumber(ARGV[7])
local last, last_part = now + debt, debt_part
if is_over(promised, promised_part, last, last_part) then
    last, last_part = promised, promised_part
end
if last == ends and last_part == ends_part then
    if is_over(debt, debt_part, back, back_part) then
        put(less(debt, debt_part, back, back_part))
    else
        clear()
    end
end
return {debt, debt_part, now, last, last_part}
