-- ARGV: the limit; how many.
local n = tonumber(ARGV[4])
if n <= room(tonumber(ARGV[3])) then
    put(previous, current + n)
end
return {left, previous, current}
