local function is_over(us, part, most, most_part)
    return us > most or (us == most and part > most_part)
end

local function add(us, part, more, more_part)
    us, part = us + more, part + more_part
    if part >= parts then
        return us + 1, part - parts
    end
    return us, part
end

-- The time to full, kept for as long. Without parts it is a number, which Redis keeps without an allocation.
-- A debt over the burst is noted: a clock set back makes no debt larger than it was.
local function put(us, part)
    local full = now + us
    local value, till, till_part = full, full, part
    if promised > 0 and is_over(promised, promised_part, now, 0) then
        value = string.format('%.0f:%.0f:%.0f:%.0f:%.0f', full, part, us, promised, promised_part)
        if is_over(promised, promised_part, full, part) then
            till, till_part = promised, promised_part
        end
    elseif is_over(us, part, burst, burst_part) then
        value = string.format('%.0f:%.0f:%.0f', full, part, us)
    elseif part > 0 then
        value = string.format('%.0f:%.0f', full, part)
    end
    call('SET', key, value, 'PXAT', math.ceil((till + math.min(till_part, 1)) / 1000))
end

-- It is put right, or it would stay so until the clock is again where it was.
if stepped then
    put(debt, debt_part)
end
