local function less(us, part, by, by_part)
    us, part = us - by, part - by_part
    if part < 0 then
        return us - 1, part + parts
    end
    return us, part
end

-- A full bucket is kept only while somebody may hold a place.
local function clear()
    if is_over(promised, promised_part, now, 0) then
        put(0, 0)
    else
        call('DEL', key)
    end
end

