-- ARGV: how many; the limit, and with it how far beyond it a charge goes.
local n = math.min(tonumber(ARGV[3]), most - current, room(tonumber(ARGV[4])))
if n > 0 then
    add(n, true)
end
return found
