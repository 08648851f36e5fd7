-- A token or leaky bucket: reads what is missing from it, does what the verb says, and answers what
-- was missing before. Flow is counted in whole microseconds and parts of one. Every number stays
-- below 2^53, so Lua's numbers are exact.
-- KEYS: the bucket. ARGV: the verb; the parts of a microsecond; the burst, in microseconds and
-- parts; a cost, likewise; what else the verb needs.
local verb, key, call = ARGV[1], KEYS[1], redis.call
local parts, burst, burst_part = ARGV[2] + 0, ARGV[3] + 0, ARGV[4] + 0
local time = call('TIME')
local now = time[1] * 1000000 + time[2]
local debt, debt_part = 0, 0
-- The end of the furthest place that a caller may hold, if the line has become shorter than that.
local promised, promised_part = 0, 0
-- Whether more is missing than was written: the clock has been set back.
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

-- Writes the time at which the bucket is full, and lets the key expire then. Without parts the
-- value is a number, which Redis keeps without an allocation. A debt over the burst is noted beside
-- the time, so that a clock that is set back does not make it larger.
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

-- Corrects the value at once: otherwise it would stay wrong until the clock has caught up.
if stepped then
    put(debt, debt_part)
end

if verb == 'look' then
    return {debt, debt_part}
end

local cost, cost_part = tonumber(ARGV[5]), tonumber(ARGV[6])

if verb == 'take' then
    local after, after_part = add(debt, debt_part, cost, cost_part)
    if not is_over(after, after_part, burst, burst_part) then
        put(after, after_part)
    end
    return {debt, debt_part}
end

-- ARGV: how far the debt may go. The answer has the time, so that the caller knows its place.
if verb == 'reserve' then
    local after, after_part = add(debt, debt_part, cost, cost_part)
    if not is_over(after, after_part, tonumber(ARGV[7]), tonumber(ARGV[8])) then
        put(after, after_part)
    end
    return {debt, debt_part, now}
end

-- ARGV: the cost of each request, in their order. One that asks for too much is denied, and takes
-- nothing from those after it.
if verb == 'each' then
    local after, after_part = debt, debt_part
    for i = 5, #ARGV, 2 do
        local us, part = add(after, after_part, tonumber(ARGV[i]), tonumber(ARGV[i + 1]))
        if not is_over(us, part, burst, burst_part) then
            after, after_part = us, part
        end
    end
    if after ~= debt or after_part ~= debt_part then
        put(after, after_part)
    end
    return {debt, debt_part}
end

-- ARGV: the most that a charge leaves missing. Where places have taken the debt further, a charge
-- adds nothing.
if verb == 'charge' then
    local after, after_part = add(debt, debt_part, cost, cost_part)
    local most, most_part = tonumber(ARGV[7]), tonumber(ARGV[8])
    if is_over(after, after_part, most, most_part) then
        after, after_part = most, most_part
    end
    if is_over(after, after_part, debt, debt_part) then
        put(after, after_part)
    end
    return {debt, debt_part}
end

-- ARGV, for `up_to`: the most units of this cost to take.
if verb == 'up_to' or verb == 'fit' then
    -- How many units fit, at most so many, and what is missing with them. Divides by doubling,
    -- since a product might be over 2^53.
    local function fit(most)
        local us, part, doubled, count = cost, cost_part, {}, 1
        while count <= most and not is_over(us, part, burst, burst_part) do
            doubled[#doubled + 1] = {us, part, count}
            us, part = add(us, part, us, part)
            count = count * 2
        end
        local fits, after, after_part = 0, debt, debt_part
        for i = #doubled, 1, -1 do
            us, part, count = unpack(doubled[i])
            us, part = add(after, after_part, us, part)
            if fits + count <= most and not is_over(us, part, burst, burst_part) then
                fits, after, after_part = fits + count, us, part
            end
        end
        return fits, after, after_part
    end
    if verb == 'fit' then
        return {debt, debt_part, fit = fit, put = put}
    end
    local granted, after, after_part = fit(tonumber(ARGV[7]))
    if granted > 0 then
        put(after, after_part)
    end
    return {debt, debt_part}
end

local function less(us, part, by, by_part)
    us, part = us - by, part - by_part
    if part < 0 then
        return us - 1, part + parts
    end
    return us, part
end

-- Takes so much off the debt. The key of a full bucket stays only while a caller may hold a place.
local function give_back(back, back_part)
    if is_over(debt, debt_part, back, back_part) then
        put(less(debt, debt_part, back, back_part))
    elseif is_over(promised, promised_part, now, 0) then
        put(0, 0)
    else
        call('DEL', key)
    end
end

if verb == 'refund' then
    give_back(cost, cost_part)
    return {debt, debt_part}
end

-- The end of the line: where the last place ends.
local last, last_part = now + debt, debt_part
if is_over(promised, promised_part, last, last_part) then
    last, last_part = promised, promised_part
end

-- ARGV: the most that a place costs. Places that are still to come become void: a place of the
-- largest size is promised behind them, so nothing of them comes back later, even if the line grows
-- to where they were.
if verb == 'reset' then
    if is_over(last, last_part, now + burst, burst_part) then
        promised, promised_part = add(last, last_part, cost, cost_part)
        promised = math.min(promised, 2 ^ 53 - 1)
    else
        promised, promised_part = 0, 0
    end
    give_back(debt, debt_part)
    return {debt, debt_part}
end

-- ARGV: the end of a place.
local ends, ends_part = tonumber(ARGV[7]), tonumber(ARGV[8])
if verb == 'hand_back' then
    -- Flow that no caller has used comes back whole, as if it had never been taken, if it is the
    -- end of the line. A line that ends before it has lost it. In one that goes on, the callers
    -- behind have been told their places.
    if last == ends and last_part == ends_part then
        give_back(cost, cost_part)
    end
elseif verb == 'give_up' then
    local due, due_part = less(ends, ends_part, burst, burst_part)
    -- A line that ends before the place has lost it: to a reset, a refund, or a loss of data.
    if is_over(due, due_part, now, 0) and not is_over(ends, ends_part, last, last_part) then
        local behind, behind_part = less(last, last_part, ends, ends_part)
        if is_over(cost, cost_part, behind, behind_part) then
            -- The places behind keep their moments, which the shorter line does not tell.
            if is_over(behind, behind_part, 0, 0) then
                promised, promised_part = last, last_part
            end
            give_back(less(cost, cost_part, behind, behind_part))
        end
    end
end
return {debt, debt_part, now, last, last_part}
