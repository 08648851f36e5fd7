-- ARGV: the limit; how many.
local n = tonumber(ARGV[4])
if n <= room(tonumber(ARGV[3])) then
    add(n)
end
return found
