-- ARGV: how many come back.
local back = tonumber(ARGV[3])
local here = math.min(back, current)
local before = math.min(back - here, previous)
if here + before > 0 then
    put(previous - before, current - here)
end
return {left, previous, current}
