-- A fixed or sliding window: reads how many tokens were admitted in the present window and in the
-- one before it, does what the verb says, and answers what it read. Lua's numbers are exact up to
-- 2^53, and none here is larger: a period is at most 2^51, a count 2^52, and the time is under 2^52
-- until the year 2112. No quotient is rounded up to a whole number: it is at least 1 / divisor away
-- from one, and rounded by at most dividend / divisor / 2^53.
-- KEYS: the window. ARGV: the verb; the period in microseconds; the limit if the window slides, or
-- else 0; then, as the verb needs them, a number of tokens and the highest level to reach.
local verb, key, period, count = ARGV[1], KEYS[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local n, level = tonumber(ARGV[4]), tonumber(ARGV[5])
local slides = count > 0
local most = 2 ^ 52
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local index = math.floor(now / period)
local left = (index + 1) * period - now

local previous, current = 0, 0
-- What else is known of a sliding window: 1 if the limit was reached in it; 2 plus parts of a
-- token, `period` of which are one token, if it is paced.
local mark = 0

-- Writes the counts, which expire when they no longer count: those of a sliding window at the end
-- of the next one.
local function put()
    if previous + current == 0 and mark < 3 then
        redis.call('DEL', key)
        return
    end
    local value, windows = string.format('%.0f:%.0f', index, current), 1
    if slides then
        value, windows = string.format('%s:%.0f', value, previous), 2
    end
    if mark > 0 then
        value = string.format('%s:%.0f', value, mark)
    end
    redis.call('SET', key, value, 'PXAT', math.ceil((index + windows) * period / 1000))
end

-- The share of a count that the rest of the window has: `count * left = whole * period + rest`. A
-- product of 2^53 or more is divided digit by digit, in a base of at least 2, in which
--     rest * base + digit * left  <=  (period - 1) * base + (base - 1) * period
--                                 <   2 * base * period  <=  2^53.
local base = math.floor(2 ^ 52 / period)
local function share(count)
    local whole, product = 0, count * left
    -- A product of 2^53 or more is never rounded to less than that.
    if product >= 2 ^ 53 then
        local head, rest = math.floor(count / base), 0
        whole, rest = share(head)
        whole, product = whole * base, rest * base + (count - head * base) * left
    end
    local more = math.floor(product / period)
    return whole + more, product - more * period
end

-- The flow since the window began: whole tokens, and parts of one.
local function flowed()
    local whole, rest = share(count)
    if rest == 0 then
        return count - whole, 0
    end
    return count - whole - 1, period - rest
end

local function is_over(whole, part, most, most_part)
    return whole > most or (whole == most and part > most_part)
end

-- The tokens left up to a level, rounded down.
local function room(level)
    if mark < 2 then
        local whole, rest = share(previous)
        return level - current - whole - math.min(rest, 1)
    end
    local whole, part = flowed()
    whole, part = previous - whole, mark - 2 - part
    if whole < 0 or (whole == 0 and part <= 0) then
        return level - current
    end
    return level - current - whole - (part > 0 and 1 or 0)
end

-- Paces the window: the current count is what exceeds the limit.
local function pace(sum, part)
    previous = math.min(sum, count)
    current = sum - previous
    mark = 2 + part
end

local function add(n, owed)
    local whole, part = 0, 0
    if mark > 1 or (count == 1 and previous + current == 0) then
        whole, part = flowed()
    end
    if mark > 1 and is_over(previous + current, mark - 2, whole, part) then
        pace(previous + current + n, mark - 2)
    elseif count == 1 and (mark > 1 or previous + current == 0) then
        pace(whole + n, part)
    else
        -- A paced window that is empty begins anew.
        if mark > 1 then
            previous, current, mark = 0, 0, 0
        end
        if slides and not owed and room(count) - n < 1 then
            mark = 1
        end
        current = current + n
    end
    put()
end

-- The count that a window leaves to the next one.
local function roll(here, before)
    local part, paced = 0, mark > 1 or here == count
    paced = paced or ((mark > 0 or here + 1 >= count) and before <= count)
    if mark > 1 then
        here, part = before + here - count, mark - 2
    end
    mark = 0
    if here < 0 or here + part == 0 then
        return 0
    end
    -- A debt of more than the limit ends with the next window.
    if paced and not is_over(here, part, count, 0) then
        mark = 2 + part
        return here
    end
    return here + math.min(part, 1)
end

local held = redis.call('GET', key)
if held then
    local of, here, before, noted = string.match(held, '^(%d+):(%d+)$')
    if slides then
        of, here, before, noted = string.match(held, '^(%d+):(%d+):(%d+):?(%d*)$')
    end
    of, here, before = tonumber(of), tonumber(here), tonumber(before or 0)
    mark = tonumber(noted) or 0
    if not of or here > most or before > most or mark > period + 1 then
        return redis.error_reply('WRONGTYPE The key holds no counts of a window')
    end
    if of >= index then
        previous, current = before, here
    elseif of == index - 1 and slides then
        previous = roll(here, before)
    else
        mark = 0
    end
    -- The clock was set back. The counts become those of the present window at once: otherwise
    -- every window until the old time would find them.
    if of > index then
        put()
    end
end
local found = {left, previous, current, mark}

if verb == 'take' then
    if n <= room(level) then
        add(n)
    end
elseif verb == 'up_to' then
    local granted = math.min(room(level), n)
    if granted > 0 then
        add(granted)
    end
elseif verb == 'each' then
    -- ARGV: what each of n requests asks for, in their order. One that asks for too much is
    -- denied, and takes nothing from those after it.
    local there, taken = room(level), 0
    for i = 6, 5 + n do
        local asked = tonumber(ARGV[i])
        if asked <= there - taken then
            taken = taken + asked
        end
    end
    if taken > 0 then
        add(taken)
    end
elseif verb == 'charge' then
    local charged = math.min(n, most - current, room(level))
    if charged > 0 then
        add(charged, true)
    end
elseif verb == 'refund' then
    if mark > 1 then
        local sum, part, whole, more = previous + current, mark - 2, flowed()
        if is_over(sum, part, whole, more) then
            if is_over(sum - n, part, whole, more) then
                pace(sum - n, part)
            else
                previous, current, mark = 0, 0, 0
            end
            put()
        end
    else
        local here = math.min(n, current)
        local before = math.min(n - here, previous)
        if here + before > 0 then
            previous, current = previous - before, current - here
            mark = math.min(mark, previous + current)
            put()
        end
    end
elseif verb == 'reset' then
    redis.call('DEL', key)
elseif verb == 'fit' then
    -- How many units of n tokens fit, at most so many, and their tokens. Units of nothing all fit.
    found.fit = function(units)
        if n > 0 then
            units = math.max(math.min(units, math.floor(room(level) / n)), 0)
        end
        return units, units * n
    end
    found.put = add
end
return found
