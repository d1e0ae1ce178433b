"""The steps of the backlog that Redis does whole: Lua, on keys that begin with ``KEYS[1]``.

Hashes by a segment's key: ``messages``, ``serials``, ``tickets``, ``jobs``, ``queues``, ``places`` (its rank
and the time at which it was first held; kept until it passes). Sorted sets of keys for each device queue:
``waiting:QUEUE`` by place, and by time ``taken:QUEUE``, which is being sent, ``woken:QUEUE``, which has not
come by the gate since, and ``reserved:QUEUE``, the latest of those. Hashes by queue or job: ``between``;
``by-queue`` and ``by-job``, the counts of what is held, whether waiting or taken; and ``inline``, the queues
for which anything is held whose messages will hold the pictures.
"""

_COMMON = """
local p = KEYS[1]
local clock = redis.call('TIME')
local now = tonumber(clock[1]) + tonumber(clock[2]) / 1000000
local function text(number) return string.format('%.6f', number) end
local function less(hash, field)
  if redis.call('HINCRBY', p .. hash, field, -1) > 0 then return end
  redis.call('HDEL', p .. hash, field)
  if hash == 'by-queue' then redis.call('HDEL', p .. 'inline', field) end
end
local function remove(key)
  local queue = redis.call('HGET', p .. 'queues', key)
  if not queue then return end
  less('by-queue', queue)
  less('by-job', redis.call('HGET', p .. 'jobs', key))
  redis.call('ZREM', p .. 'waiting:' .. queue, key)
  redis.call('ZREM', p .. 'taken:' .. queue, key)
  for _, hash in ipairs({'messages', 'serials', 'tickets', 'jobs', 'queues'}) do
    redis.call('HDEL', p .. hash, key)
  end
end
local function asleep(queue, key)
  redis.call('ZREM', p .. 'woken:' .. queue, key)
  redis.call('ZREM', p .. 'reserved:' .. queue, key)
end
"""
HOLD = (
    _COMMON
    + """
local queue, key = ARGV[1], ARGV[2]
remove(key)
redis.call('HSET', p .. 'messages', key, ARGV[3])
redis.call('HSET', p .. 'serials', key, redis.call('INCR', p .. 'serial'))
redis.call('HSET', p .. 'tickets', key, ARGV[4])
redis.call('HSET', p .. 'jobs', key, ARGV[5])
redis.call('HSET', p .. 'queues', key, queue)
redis.call('HINCRBY', p .. 'by-queue', queue, 1)
redis.call('HINCRBY', p .. 'by-job', ARGV[5], 1)
redis.call('HSETNX', p .. 'places', key, text(tonumber(ARGV[6]) + now))
redis.call('ZADD', p .. 'waiting:' .. queue, redis.call('HGET', p .. 'places', key), key)
asleep(queue, key)
redis.call('HSET', p .. 'between', queue, ARGV[7])
if ARGV[8] == '1' then redis.call('HSET', p .. 'inline', queue, '1') end
"""
)
PASS = (
    _COMMON
    + """
asleep(ARGV[1], ARGV[2])
if redis.call('HGET', p .. 'tickets', ARGV[2]) == ARGV[3] then remove(ARGV[2]) end
if redis.call('HEXISTS', p .. 'messages', ARGV[2]) == 0 then redis.call('HDEL', p .. 'places', ARGV[2]) end
"""
)
WAKE = (
    _COMMON
    + """
local queue, room, most, found = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), {}
local waiting, taken = p .. 'waiting:' .. queue, p .. 'taken:' .. queue
local woken, reserved = p .. 'woken:' .. queue, p .. 'reserved:' .. queue
for _, key in ipairs(redis.call('ZRANGEBYSCORE', taken, '-inf', text(now - ARGV[4]))) do
  redis.call('ZREM', taken, key)
  asleep(queue, key)
  redis.call('ZADD', waiting, redis.call('HGET', p .. 'places', key) or text(now), key)
end
redis.call('ZREMRANGEBYSCORE', reserved, '-inf', text(now - ARGV[5]))
for _, key in ipairs(redis.call('ZRANGEBYSCORE', woken, '-inf', text(now - ARGV[6]))) do
  redis.call('ZREM', woken, key)
  if redis.call('HEXISTS', p .. 'messages', key) == 0 then redis.call('HDEL', p .. 'places', key) end
end
room = math.min(room - redis.call('ZCARD', reserved), most)
if room < 1 then return found end
for _, key in ipairs(redis.call('ZRANGE', waiting, 0, room - 1)) do
  redis.call('ZREM', waiting, key)
  redis.call('ZADD', taken, text(now), key)
  redis.call('ZADD', woken, text(now), key)
  redis.call('ZADD', reserved, text(now), key)
  local serial = tonumber(redis.call('HGET', p .. 'serials', key))
  found[#found + 1] = {key, redis.call('HGET', p .. 'messages', key), serial}
end
return found
"""
)
SENT = (
    _COMMON
    + """
if redis.call('HGET', p .. 'serials', ARGV[2]) == ARGV[3] then
  remove(ARGV[2])
  local awake = redis.call('ZSCORE', p .. 'woken:' .. ARGV[1], ARGV[2])
  if not awake then redis.call('HDEL', p .. 'places', ARGV[2]) end  -- it has come by already
end
"""
)
DROP = (
    _COMMON
    + """
local ticket = redis.call('HGET', p .. 'tickets', ARGV[1])
if ticket and ticket < ARGV[2] then
  asleep(redis.call('HGET', p .. 'queues', ARGV[1]), ARGV[1])
  remove(ARGV[1])
  redis.call('HDEL', p .. 'places', ARGV[1])
end
"""
)
COUNTS = (
    _COMMON
    + """
local found, flat = {}, redis.call('HGETALL', p .. 'by-queue')
for i = 1, #flat, 2 do found[#found + 1] = {flat[i], flat[i + 1]} end
return found
"""
)
HELD_BY = _COMMON + "return tonumber(redis.call('HGET', p .. 'by-job', ARGV[1]) or '0')"
