-- Takes cost from several buckets, from all or from none, by this server's clock.
--
-- KEYS: the buckets. ARGV, six numbers for each bucket: kind (0 rate, 1 count), then
--   for a rate: microseconds in which cost 1 flows back, microseconds in which an empty bucket fills;
--   for a count: cost that a period allows, microseconds of a period;
-- then the cost of one call, the cost of all waiting calls, and the cost to take in advance.
-- The value of a rate is the microsecond at which it is full again. The value of a count is the cost taken in the
-- period, which ends when the key expires.
--
-- Returns four numbers for each bucket: taken, left, microseconds until it is full, microseconds until one more call is
-- admitted.
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local buckets, lacking = {}, false
for i, key in ipairs(KEYS) do
  local at = (i - 1) * 6
  local bucket = {
    is_rate = ARGV[at + 1] == '0',
    one = tonumber(ARGV[at + 2]), all = tonumber(ARGV[at + 3]),
    cost = tonumber(ARGV[at + 4]), due = tonumber(ARGV[at + 5]), ahead = tonumber(ARGV[at + 6]),
    taken = 0,
  }
  local value = tonumber(redis.call('GET', key) or 0)
  if bucket.is_rate then
    -- A changed clock or rule must not leave the bucket more than empty.
    bucket.full_in = math.min(math.max(value - now, 0), bucket.all)
    bucket.free = math.floor((bucket.all - bucket.full_in) / bucket.one)
  else
    local left = value > 0 and redis.call('PTTL', key) or 0
    bucket.is_new = left <= 0
    bucket.full_in = bucket.is_new and 0 or left * 1000
    bucket.free = math.max(bucket.one - (bucket.is_new and 0 or value), 0)
  end
  lacking = lacking or bucket.free < bucket.cost
  buckets[i] = bucket
end

local result = {}
for i, key in ipairs(KEYS) do
  local bucket = buckets[i]
  if not lacking then
    local calls = math.floor(math.min(bucket.due, bucket.free) / bucket.cost)
    -- Other processes need cost too: take at most an eighth of what is left.
    local spare = (bucket.free - calls * bucket.cost) / 8
    bucket.taken = (calls + math.floor(math.min(bucket.ahead, spare) / bucket.cost)) * bucket.cost
    bucket.free = bucket.free - bucket.taken
    if bucket.is_rate then
      bucket.full_in = bucket.full_in + bucket.taken * bucket.one
      redis.call('SET', key, string.format('%.0f', now + bucket.full_in), 'PX', math.ceil(bucket.full_in / 1000))
    elseif bucket.is_new then
      bucket.full_in = bucket.all
      redis.call('SET', key, string.format('%.0f', bucket.taken), 'PX', math.ceil(bucket.all / 1000))
    else
      redis.call('INCRBY', key, string.format('%.0f', bucket.taken))
    end
  end
  local wait = 0
  if bucket.free < bucket.cost then
    wait = bucket.full_in
    if bucket.is_rate then
      wait = math.max(bucket.full_in + bucket.cost * bucket.one - bucket.all, 1)
    end
  end
  for _, number in ipairs({bucket.taken, bucket.free, bucket.full_in, wait}) do
    result[#result + 1] = number
  end
end
return result
