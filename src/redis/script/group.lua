-- Asks the limits of a group in order. `one` is the script of a single limit. The verb `fit` takes
-- units that fit all limits, or nothing; any other verb does the same to each limit.
-- KEYS: those of the limits. ARGV: the verb; how many numbers each limit has; for `fit` the most
-- units, or else 0; then the numbers of each limit.
local verb, size, count = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local limits, answer = {}, {}
for i, key in ipairs(KEYS) do
    local limit = one({key}, {verb, unpack(ARGV, 4 + (i - 1) * size, 3 + i * size)})
    if limit.err then
        return limit
    end
    limits[i] = limit
    for _, number in ipairs(limit) do
        answer[#answer + 1] = number
    end
    if verb == 'fit' then
        count = limit.fit(count)
    end
end
if verb == 'fit' and count > 0 then
    for _, limit in ipairs(limits) do
        limit.put(select(2, limit.fit(count)))
    end
end
return answer
