-- ARGV: how many.
local n = math.min(tonumber(ARGV[3]), most - current)
if n > 0 then
    add(n, true)
end
return found
