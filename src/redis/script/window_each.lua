-- ARGV: the limit; how many each asks for, in their order. Who asks for too much is denied, and takes nothing from those
-- after.
local there, taken = room(tonumber(ARGV[3])), 0
for i = 4, #ARGV do
    local n = tonumber(ARGV[i])
    if n <= there - taken then
        taken = taken + n
    end
end
if taken > 0 then
    add(taken)
end
return found
