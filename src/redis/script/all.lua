-- The tail of a script that does the same to several keys, one after the other.
-- ARGV: how many numbers each has, then those of each.
local size, answer = tonumber(ARGV[1]), {}
for i, key in ipairs(KEYS) do
    local said = one({key}, {unpack(ARGV, 2 + (i - 1) * size, 1 + i * size)})
    if said.err then
        return said
    end
    for _, number in ipairs(said) do
        answer[#answer + 1] = number
    end
end
return answer
