-- ARGV: where a place ends, and the cost of what is given up of it.
local ends, ends_part = tonumber(ARGV[4]), tonumber(ARGV[5])
local back, back_part = tonumber(ARGV[6]), tonumber(ARGV[7])
local last, last_part = now + debt, debt_part
if is_over(promised, promised_part, last, last_part) then
    last, last_part = promised, promised_part
end
local due, due_part = less(ends, ends_part, burst, burst_part)
-- A line that ends before the place has lost it: to a reset or a refund, or the server lost its data.
if is_over(due, due_part, now, 0) and not is_over(ends, ends_part, last, last_part) then
    local behind, behind_part = less(last, last_part, ends, ends_part)
    if is_over(back, back_part, behind, behind_part) then
        back, back_part = less(back, back_part, behind, behind_part)
        -- Those behind keep their moments, which the line, now shorter, does not tell.
        if is_over(behind, behind_part, 0, 0) then
            promised, promised_part = last, last_part
        end
        if is_over(debt, debt_part, back, back_part) then
            put(less(debt, debt_part, back, back_part))
        else
            clear()
        end
    end
end
return {debt, debt_part, now, last, last_part}
