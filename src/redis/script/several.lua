-- Takes of all keys what fits all of them, or nothing.
-- ARGV: how many numbers each has, how many units at most, then those of each.
local size, count = tonumber(ARGV[1]), tonumber(ARGV[2])
local limits, answer = {}, {}
for i, key in ipairs(KEYS) do
    local limit = one({key}, {unpack(ARGV, 3 + (i - 1) * size, 2 + i * size)})
    if limit.err then
        return limit
    end
    limits[i] = limit
    for _, number in ipairs(limit) do
        answer[#answer + 1] = number
    end
    count = limit.fit(count)
end
if count > 0 then
    for _, limit in ipairs(limits) do
        limit.put(select(2, limit.fit(count)))
    end
end
return answer
