-- Of most quotas a microsecond has one part, and most calls take from a bucket in order: then this is all, and its answer
-- one number, what is missing in whole microseconds. No function is made here: making one takes almost as long as a GET.
-- ARGV: the burst; the cost.
local call, key = redis.call, KEYS[1]
local time, held = call('TIME'), call('GET', key)
local now = time[1] * 1000000 + time[2]
local full, burst = held and tonumber(held), ARGV[1] + 0
-- A bucket that has nothing noted, and not more missing than there can be.
if not held or (full and full >= 0 and full - now <= burst) then
    local debt = 0
    if held and full > now then
        debt = full - now
    end
    local after = debt + ARGV[2]
    if after <= burst then
        full = now + after
        call('SET', key, full, 'PXAT', math.ceil(full / 1000))
    end
    return debt
end
-- Otherwise as of any quota.
local ARGV = {1, ARGV[1], 0, ARGV[2], 0, ARGV[3], ARGV[4]}
