-- ARGV: what comes back.
local back, back_part = tonumber(ARGV[4]), tonumber(ARGV[5])
if not is_over(debt, debt_part, back, back_part) then
    redis.call('DEL', key)
    return {debt, debt_part}
end
local after, after_part = debt - back, debt_part - back_part
if after_part < 0 then
    after, after_part = after - 1, after_part + parts
end
put(after, after_part)
return {debt, debt_part}
