-- ARGV: the cost of each that asks, in their order. Who asks for too much is denied, and takes nothing from those after.
local after, after_part = debt, debt_part
for i = 4, #ARGV, 2 do
    local us, part = add(after, after_part, tonumber(ARGV[i]), tonumber(ARGV[i + 1]))
    if not is_over(us, part, burst, burst_part) then
        after, after_part = us, part
    end
end
if after ~= debt or after_part ~= debt_part then
    put(after, after_part)
end
return {debt, debt_part}
