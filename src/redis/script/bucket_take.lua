-- Takes from a bucket that has one part in a microsecond, as most quotas have. If no place in its
-- waiting line is noted, this is the whole script; it answers one number, the microseconds of flow
-- that were missing. It makes no function, since making one takes almost as long as a GET.
-- KEYS: the bucket. ARGV: the burst and the cost, in microseconds of flow.
local call, key = redis.call, KEYS[1]
local time, held = call('TIME'), call('GET', key)
local now = time[1] * 1000000 + time[2]
local full, burst = held and tonumber(held), ARGV[1] + 0
-- A value that is one number, with no more missing than the burst.
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
-- Any other value is for the script of all buckets, which follows.
local ARGV = {'take', 1, ARGV[1], 0, ARGV[2], 0, ARGV[3], ARGV[4]}
