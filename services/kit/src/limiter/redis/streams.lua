-- Records how many streams one process has open, if all processes together stay within the limit.
--
-- KEYS: the streams of one client. ARGV: the process, its number of streams (0: none any more), the maximum of all
-- processes (0: no check), milliseconds until this record expires. The field of each process holds its number and the
-- millisecond at which it expires, so that the streams of a dead process become free.
--
-- Returns 1 if recorded, 0 if there would be too many and nothing was recorded.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local mine, most, lease = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local all, others = redis.call('HGETALL', KEYS[1]), 0
for i = 1, #all, 2 do
  local count, until_ms = string.match(all[i + 1], '^(%d+) (%d+)$')
  if tonumber(until_ms or 0) <= now then
    redis.call('HDEL', KEYS[1], all[i])
  elseif all[i] ~= ARGV[1] then
    others = others + tonumber(count)
  end
end
if mine == 0 then
  redis.call('HDEL', KEYS[1], ARGV[1])
  return 1
end
if most > 0 and others + mine > most then
  return 0
end
redis.call('HSET', KEYS[1], ARGV[1], string.format('%d %.0f', mine, now + lease))
redis.call('PEXPIRE', KEYS[1], lease)
return 1
