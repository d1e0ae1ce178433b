"""The Lua scripts of ``broker.egress``: each is one step that no other worker can come between.

The rate is GCRA (the generic cell rate algorithm, ITU-T I.371) with a queue in front. ``tat`` is the time at
which the bucket is full again; a token is there when ``tat + interval - burst * interval <= now``. Whoever
has to wait stands in a queue by the order of arrival, and whoever stands at place p (from 0) is granted when
there are p + 1 tokens: those ahead keep theirs until they come or are late. Who is late steps aside, so that
the dead hold up nobody, and steps in again at the place of its arrival when it does come. So tokens are spent
at the grant and never before, and the law of the bucket holds whatever happens to those who wait.

KEYS: state (hash), queue (who by arrival), due (who by the time it is expected), late (who by arrival, those
that stepped aside), minutes (grants by minute), identities (names by their last use). ARGV: identity, expiry,
who, then what the script needs.
"""

_COMMON = """
local state, queue, due, late, minutes, identities = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6]
local identity, expiry, who = ARGV[1], tonumber(ARGV[2]), ARGV[3]
local clock = redis.call('TIME')
local now = tonumber(clock[1]) + tonumber(clock[2]) / 1000000
local function text(number) return string.format('%.6f', number) end
local function get(field) return tonumber(redis.call('HGET', state, field) or '0') end
local function set(field, number) redis.call('HSET', state, field, text(number)) end
local function holder() return redis.call('HGET', state, 'holder') or '' end
local function leave() for i = 2, 4 do redis.call('ZREM', KEYS[i], who) end end
local function keep()
  redis.call('ZREMRANGEBYSCORE', identities, '-inf', now - expiry)
  redis.call('ZADD', identities, text(now), identity)
  for i = 1, 5 do redis.call('EXPIRE', KEYS[i], expiry) end
end
-- A server's clock that was set back must not lengthen a pause.
local function pause_left()
  return math.min(get('until') - now, get('pause'))
end
"""

ASK = (
    _COMMON
    + """
local interval, burst = tonumber(ARGV[4]), tonumber(ARGV[5])
local grace, longest, probe_lease, probe_wait =
  tonumber(ARGV[6]), tonumber(ARGV[7]), tonumber(ARGV[8]), tonumber(ARGV[9])
local pause = get('pause')
if interval == 0 and pause == 0 then return {} end

-- Those who did not come at their time step aside.
for _, other in ipairs(redis.call('ZRANGEBYSCORE', due, '-inf', '(' .. text(now - grace))) do
  redis.call('ZADD', late, redis.call('ZSCORE', queue, other), other)
  redis.call('ZREM', queue, other)
  redis.call('ZREM', due, other)
end
redis.call('ZREMRANGEBYRANK', late, 0, -10001)

-- The bucket. Another rate keeps the tokens that are used up; no more than all can be.
local before = get('interval')
local used = before > 0 and math.max(0, get('tat') - now) / before or 0
local tat = now + math.min(used, burst) * interval
if before == interval then tat = math.min(math.max(now, get('tat')), now + burst * interval) end
set('interval', interval)
redis.call('HSET', state, 'burst', burst)
set('tat', tat)
local function wait_at(place) return tat + (place + 1 - burst) * interval - now end

local function grant()
  set('tat', tat + interval)
  local minute = math.floor(now / 60)
  redis.call('HINCRBY', minutes, minute, 1)
  if redis.call('HLEN', minutes) > 61 then
    for _, old in ipairs(redis.call('HKEYS', minutes)) do
      if tonumber(old) <= minute - 60 then redis.call('HDEL', minutes, old) end
    end
  end
  leave()
  keep()
  return {}
end

if not redis.call('ZSCORE', queue, who) then
  local arrival = redis.call('ZSCORE', late, who) or redis.call('HINCRBY', state, 'arrivals', 1)
  redis.call('ZADD', queue, arrival, who)
  redis.call('ZREM', late, who)
end
local place = redis.call('ZRANK', queue, who)
-- Who has to wait for more than the rate comes back at a pace at which it could be granted, not all at once.
local spread = math.min(longest, math.max(0, (place + 1 - burst) * interval))
local function refuse(reason, seconds)
  redis.call('ZADD', due, text(now + seconds), who)
  keep()
  return {reason, text(seconds)}
end

if pause > 0 then
  local left = pause_left()
  if left > 0 then return refuse('breaker', left + spread) end
  local probe, lease = holder(), math.min(get('lease'), now + probe_lease)
  if probe ~= '' and probe ~= who and lease > now then return refuse('probe', probe_wait + spread) end
  if wait_at(0) > 0 then return refuse('rate', wait_at(0)) end
  redis.call('HSET', state, 'holder', who)
  set('lease', now + probe_lease)
  return grant()
end

local wait = wait_at(place)
if wait > 0 then return refuse('rate', math.min(wait, longest)) end
return grant()
"""
)

ALIVE = (
    _COMMON
    + """
if holder() == who then
  set('lease', now + tonumber(ARGV[4]))
  keep()
end
return {}
"""
)

SUCCEEDED = (
    _COMMON
    + """
if holder() == who then
  redis.call('HDEL', state, 'pause', 'until', 'cause', 'holder', 'lease')
  if get('interval') == 0 then
    redis.call('DEL', state, queue, due, late, minutes)
    redis.call('ZREM', identities, identity)
  end
end
return {}
"""
)

POISONED = (
    _COMMON
    + """
local first, most, cause = tonumber(ARGV[4]), tonumber(ARGV[5]), ARGV[6]
local pause = get('pause')
if pause > 0 and pause_left() > 0 then return {text(pause_left())} end
if holder() == who then
  pause = math.min(pause * 2, most)
elseif pause == 0 then
  pause = first
end
redis.call('HDEL', state, 'holder', 'lease')
redis.call('HSET', state, 'cause', cause)
set('pause', pause)
set('until', now + pause)
keep()
return {text(pause)}
"""
)

FORGET = (
    _COMMON
    + """
leave()
if holder() == who then redis.call('HDEL', state, 'holder', 'lease') end
return {}
"""
)

VIEW = (
    _COMMON
    + """
local interval, burst, pause = get('interval'), get('burst'), get('pause')
local granted, hour = 0, math.floor(now / 60) - 60
local counts = redis.call('HGETALL', minutes)
for i = 1, #counts, 2 do
  if tonumber(counts[i]) > hour then granted = granted + tonumber(counts[i + 1]) end
end
local wait = math.max(0, get('tat') + (1 - burst) * interval - now)
local left = pause > 0 and math.max(0, pause_left()) or 0
local breaker = (pause == 0 and 'closed') or (left > 0 and 'open') or 'half_open'
local cause = redis.call('HGET', state, 'cause') or ''
return {text(interval), tostring(burst), tostring(granted), tostring(redis.call('ZCARD', queue)), text(wait),
  breaker, text(left), text(pause), cause}
"""
)
