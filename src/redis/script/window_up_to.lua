-- ARGV: the limit; how many at most.
local granted = math.min(room(tonumber(ARGV[3])), tonumber(ARGV[4]))
if granted > 0 then
    add(granted)
end
return found
