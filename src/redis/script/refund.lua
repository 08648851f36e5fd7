-- ARGV: what comes back.
local back, back_part = tonumber(ARGV[4]), tonumber(ARGV[5])
if is_over(debt, debt_part, back, back_part) then
    put(less(debt, debt_part, back, back_part))
else
    clear()
end
return {debt, debt_part}
