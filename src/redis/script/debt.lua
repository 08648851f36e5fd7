-- The head of every script: what is missing from the bucket of KEYS[1], in whole microseconds of flow and
-- parts of one. Every number stays under 2^53, so that Lua's are exact.
-- ARGV: parts in a microsecond; the burst, in both; what the verb needs.
local key, call = KEYS[1], redis.call
local parts, burst, burst_part = ARGV[1] + 0, ARGV[2] + 0, ARGV[3] + 0
local time = call('TIME')
local now = time[1] * 1000000 + time[2]
local debt, debt_part = 0, 0
-- How far somebody may hold a place, though the line is shorter.
local promised, promised_part = 0, 0
-- More is owed than can be: the clock was set back.
local stepped = false
local held = call('GET', key)
if held then
    local full, part, noted = tonumber(held), 0, nil
    if not full or full < 0 then
        local far, far_part
        full, part, noted, far, far_part = string.match(held, '^(%d+):(%d+):?(%d*):?(%d*):?(%d*)$')
        if not full then
            return redis.error_reply('WRONGTYPE The key holds no time of a limiter')
        end
        full, part, noted = full + 0, part + 0, tonumber(noted)
        promised, promised_part = tonumber(far) or 0, tonumber(far_part) or 0
    end
    if full >= now then
        debt, debt_part = full - now, part
        if noted then
            stepped = debt > noted
            debt = math.min(debt, noted)
        elseif debt > burst or (debt == burst and debt_part > burst_part) then
            debt, debt_part, stepped = burst, burst_part, true
        end
    end
end
