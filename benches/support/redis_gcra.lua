-- The generic cell rate algorithm in floating point, as go-redis/redis_rate 10 decides: seconds since 2017 in a double,
-- expiry in whole seconds, figures as text.
-- ARGV: burst; count; period in seconds; cost.
local cost = tonumber(ARGV[4])
local interval = ARGV[3] / ARGV[2]
local time = redis.call('TIME')
local now = time[1] - 1483228800 + time[2] / 1000000
local arrival = math.max(tonumber(redis.call('GET', KEYS[1]) or now), now)
local after = arrival + interval * cost
local spare = now - (after - interval * ARGV[1])
if spare < 0 then
    return {0, 0, tostring(-spare), tostring(arrival - now)}
end
local full = after - now
if full > 0 then
    redis.call('SET', KEYS[1], after, 'EX', math.ceil(full))
end
return {cost, spare / interval, '-1', tostring(full)}
