-- ARGV: the most that a place costs. Places that wait are void: with so much behind them nothing of them comes
-- back, also if the line grows to where they were.
if is_over(now + debt, debt_part, promised, promised_part) then
    promised, promised_part = now + debt, debt_part
end
if is_over(promised, promised_part, now + burst, burst_part) then
    promised, promised_part = add(promised, promised_part, tonumber(ARGV[4]), tonumber(ARGV[5]))
    promised = math.min(promised, 2 ^ 53 - 1)
else
    promised, promised_part = 0, 0
end
clear()
return {debt, debt_part}
