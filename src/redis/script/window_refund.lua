-- ARGV: how many come back.
local back = tonumber(ARGV[3])
if mark > 1 then
    local sum, part, whole, more = previous + current, mark - 2, flowed()
    if is_over(sum, part, whole, more) then
        if is_over(sum - back, part, whole, more) then
            pace(sum - back, part)
        else
            previous, current, mark = 0, 0, 0
        end
        put()
    end
    return found
end
local here = math.min(back, current)
local before = math.min(back - here, previous)
if here + before > 0 then
    previous, current = previous - before, current - here
    mark = math.min(mark, previous + current)
    put()
end
return found
