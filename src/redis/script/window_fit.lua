-- ARGV: the limit; a unit. How many units of at most so many fit, and what they are together. Of nothing there is any number.
local unit = tonumber(ARGV[4])
local function fit(most)
    local fits = most
    if unit > 0 then
        fits = math.max(math.min(most, math.floor(room(tonumber(ARGV[3])) / unit)), 0)
    end
    return fits, fits * unit
end
