-- The head of every script of a window: how many were admitted in now's window, and in the one before it. Lua's numbers
-- are exact up to 2^53, and none is larger: a period is at most 2^51, a count 2^52, and the time is under 2^52 until the
-- year 2112. No quotient is rounded to a whole number that it is not: it is 1 / divisor away from it at least, and
-- rounded by dividend / divisor / 2^53 at most.
-- ARGV: the period, in microseconds; 1 if the window slides, or else 0; what the verb needs.
local key, period, slides = KEYS[1], tonumber(ARGV[1]), ARGV[2] == '1'
local most = 2 ^ 52
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local index = math.floor(now / period)
local left = (index + 1) * period - now

-- Kept for as long as they count: those of a sliding window until the end of the next.
local function put(previous, current)
    if previous + current == 0 then
        redis.call('DEL', key)
        return
    end
    local value, windows = string.format('%.0f:%.0f', index, current), 1
    if slides then
        value, windows = string.format('%s:%.0f', value, previous), 2
    end
    redis.call('SET', key, value, 'PXAT', math.ceil((index + windows) * period / 1000))
end

-- What remains of a count after so much of a window: `count * left = whole * period + rest`. A long product is divided
-- digit by digit, in a base of 2 at least, in which
--     rest * base + digit * left  <=  (period - 1) * base + (base - 1) * period  <  2 * base * period  <=  2^53.
local base = math.floor(2 ^ 52 / period)
local function share(count)
    local whole, product = 0, count * left
    -- One that is not under 2^53 is not rounded to under it.
    if product >= 2 ^ 53 then
        local head, rest = math.floor(count / base), 0
        whole, rest = share(head)
        whole, product = whole * base, rest * base + (count - head * base) * left
    end
    local more = math.floor(product / period)
    return whole + more, product - more * period
end

local previous, current = 0, 0

-- What is left of the limit, rounded down.
local function room(limit)
    local whole, rest = share(previous)
    return limit - current - whole - math.min(rest, 1)
end

local held = redis.call('GET', key)
if held then
    local of, here, before = string.match(held, slides and '^(%d+):(%d+):(%d+)$' or '^(%d+):(%d+)$')
    of, here, before = tonumber(of), tonumber(here), tonumber(before or 0)
    if not of or here > most or before > most then
        return redis.error_reply('WRONGTYPE The key holds no counts of a window')
    end
    if of >= index then
        previous, current = before, here
    elseif of == index - 1 and slides then
        previous = here
    end
    -- The clock was set back. Unless it is written that these are now's, every window until then finds them.
    if of > index then
        put(previous, current)
    end
end
