-- The head of every script: what is missing from the bucket of KEYS[1], in whole microseconds of flow and
-- parts of one. Every number stays under 2^53, so that Lua's are exact.
-- ARGV: parts in a microsecond; the burst, in both; what the verb needs.
local key = KEYS[1]
local parts, burst, burst_part = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]

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
    local value = full
    if is_over(us, part, burst, burst_part) then
        value = string.format('%.0f:%.0f:%.0f', full, part, us)
    elseif part > 0 then
        value = string.format('%.0f:%.0f', full, part)
    end
    redis.call('SET', key, value, 'PXAT', math.ceil((full + math.min(part, 1)) / 1000))
end

local debt, debt_part = 0, 0
local held = redis.call('GET', key)
if held then
    local full, part, noted = string.match(held, '^(%d+):?(%d*):?(%d*)$')
    if not full then
        return redis.error_reply('WRONGTYPE The key holds no time of a limiter')
    end
    full, part, noted = tonumber(full), tonumber(part) or 0, tonumber(noted)
    if full >= now then
        debt, debt_part = full - now, part
        -- More is owed than can be: the clock was set back. It is put right, or it would stay so until the clock is
        -- again where it was.
        if noted and debt > noted then
            debt = noted
            put(debt, debt_part)
        elseif not noted and is_over(debt, debt_part, burst, burst_part) then
            debt, debt_part = burst, burst_part
            put(debt, debt_part)
        end
    end
end
