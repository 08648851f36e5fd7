-- ARGV: the cost of a unit. How many units of at most so many fit, and what is missing with them. A division by doubling:
-- what fits is found without a product, which might be over 2^53.
local unit, unit_part = tonumber(ARGV[4]), tonumber(ARGV[5])
local function fit(most)
    local us, part, doubled, count = unit, unit_part, {}, 1
    while count <= most and not is_over(us, part, burst, burst_part) do
        doubled[#doubled + 1] = {us, part, count}
        us, part = add(us, part, us, part)
        count = count * 2
    end
    local fits, after, after_part = 0, debt, debt_part
    for i = #doubled, 1, -1 do
        us, part, count = unpack(doubled[i])
        us, part = add(after, after_part, us, part)
        if fits + count <= most and not is_over(us, part, burst, burst_part) then
            fits, after, after_part = fits + count, us, part
        end
    end
    return fits, after, after_part
end
