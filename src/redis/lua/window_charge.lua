-- ARGV: how many.
local after = math.min(current + tonumber(ARGV[3]), most)
if after > current then
    put(previous, after)
end
return {left, previous, current}
