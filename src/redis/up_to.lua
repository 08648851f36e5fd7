-- ARGV: a token, and how many at most. A division by doubling: what fits is found without a product, which
-- might be over 2^53.
local us, part, most = tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6])
local doubled, count = {}, 1
while count <= most and not is_over(us, part, burst, burst_part) do
    doubled[#doubled + 1] = {us, part, count}
    us, part = add(us, part, us, part)
    count = count * 2
end
local granted, after, after_part = 0, debt, debt_part
for i = #doubled, 1, -1 do
    local us, part, count = unpack(doubled[i])
    us, part = add(after, after_part, us, part)
    if granted + count <= most and not is_over(us, part, burst, burst_part) then
        granted, after, after_part = granted + count, us, part
    end
end
if granted > 0 then
    put(after, after_part)
end
return {debt, debt_part}
