-- Most quotas have one part, and most calls take from them: then this is all.
-- ARGV: the cost.
if parts == 1 and not stepped then
    local after = debt + ARGV[4]
    if after <= burst then
        local full = now + after
        call('SET', key, full, 'PXAT', math.ceil(full / 1000))
    end
    return {debt, 0}
end
