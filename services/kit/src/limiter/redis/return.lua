-- Returns unused leased cost to one bucket.
--
-- KEYS: the bucket. ARGV: kind (0 rate, 1 count); for a rate, microseconds; for a count, the cost, and the longest
-- possible rest of its period: a new period gets nothing back.
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local value = tonumber(redis.call('GET', KEYS[1]) or 0)
if ARGV[1] == '0' then
  local full_at = value - tonumber(ARGV[2])
  if full_at > now then
    redis.call('SET', KEYS[1], string.format('%.0f', full_at), 'PX', math.ceil((full_at - now) / 1000))
  elseif value > 0 then
    redis.call('DEL', KEYS[1])
  end
elseif value > 0 and redis.call('PTTL', KEYS[1]) * 1000 <= tonumber(ARGV[3]) then
  redis.call('DECRBY', KEYS[1], string.format('%.0f', math.min(value, tonumber(ARGV[2]))))
end
return 0
