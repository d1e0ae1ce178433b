"""The steps of the register of devices that Redis does whole: Lua, on one hash, a few fields for each unit.

Fields: ``body:KEY`` (JSON), ``first:KEY``, ``seen:KEY``, ``state:KEY``, ``since:KEY``, ``worker:WORKER_KEY``
(the unit's key), ``identity:KEY``, ``spec:IDENTITY`` (when it was first announced), ``queue:NAME``. Times are
Unix times by the server's clock. Nothing expires.
"""

_COMMON = """
local devices = KEYS[1]
local clock = redis.call('TIME')
local now = tonumber(clock[1]) + tonumber(clock[2]) / 1000000
local function text(number) return string.format('%.6f', number) end
local function get(field) return redis.call('HGET', devices, field) end
local function set(field, value) redis.call('HSET', devices, field, value) end
local function alive(key, seconds)
  local seen = get('seen:' .. key)
  return seen and now - tonumber(seen) <= tonumber(seconds) and get('state:' .. key) ~= 'gone'
end
local function state(key, word)
  if get('state:' .. key) ~= word then set('state:' .. key, word); set('since:' .. key, text(now)) end
end
"""
ANNOUNCE = (
    _COMMON
    + """
local prefix, worker, body, identity, seconds = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]
local old = get('worker:' .. worker)
if old and old:sub(1, #prefix) ~= prefix then state(old, 'gone'); old = nil end
local key, n = old, 0
while not key do
  n = n + 1
  if not alive(prefix .. n, seconds) then key = prefix .. n end
end
for _, field in ipairs(redis.call('HKEYS', devices)) do
  if field:sub(1, 7) == 'worker:' and get(field) == key then redis.call('HDEL', devices, field) end
end
set('worker:' .. worker, key)
set('body:' .. key, body)
set('identity:' .. key, identity)
set('queue:' .. ARGV[6], '1')
set('seen:' .. key, text(now))
redis.call('HSETNX', devices, 'first:' .. key, text(now))
redis.call('HSETNX', devices, 'spec:' .. identity, text(now))
state(key, ARGV[7])
return key
"""
)
"""A worker keeps its unit's key; a new one takes the first of its host that nobody alive has."""
BEAT = (
    _COMMON
    + """
local key = get('worker:' .. ARGV[1])
if not key then return 0 end
set('seen:' .. key, text(now))
return 1
"""
)
STATE = (
    _COMMON
    + """
local key = get('worker:' .. ARGV[1])
if not key then return 0 end
set('seen:' .. key, text(now))
state(key, ARGV[2])
return 1
"""
)
LEAVE = (
    _COMMON
    + """
local key = get('worker:' .. ARGV[1])
if not key then return 0 end
set('seen:' .. key, text(now))
state(key, 'gone')
redis.call('HDEL', devices, 'worker:' .. ARGV[1])
return 1
"""
)
NOTE_QUEUES = "for _, queue in ipairs(ARGV) do redis.call('HSETNX', KEYS[1], 'queue:' .. queue, '1') end"
FORGET = (
    _COMMON
    + """
local name, kept = ARGV[1], false
for n = 2, #ARGV do
  for _, part in ipairs({'body:', 'first:', 'seen:', 'state:', 'since:', 'identity:'}) do
    redis.call('HDEL', devices, part .. ARGV[n])
  end
  for _, field in ipairs(redis.call('HKEYS', devices)) do
    if field:sub(1, 7) == 'worker:' and get(field) == ARGV[n] then redis.call('HDEL', devices, field) end
  end
end
for _, field in ipairs(redis.call('HKEYS', devices)) do
  if field:sub(1, 6 + #name) == 'body:' .. name .. '@' then kept = true end
end
if not kept then
  for _, field in ipairs(redis.call('HKEYS', devices)) do
    if field:sub(1, 6 + #name) == 'spec:' .. name .. ' ' then redis.call('HDEL', devices, field) end
  end
end
return 1
"""
)
"""The queue that was noted stays: what waits in it must not look like lost."""
READ = (
    _COMMON
    + """
local found, all = {}, {}
local flat = redis.call('HGETALL', devices)
for i = 1, #flat, 2 do all[flat[i]] = flat[i + 1] end
for field, value in pairs(all) do
  if field:sub(1, 5) == 'body:' then
    local key = field:sub(6)
    local seen = all['seen:' .. key] or '0'
    found[#found + 1] = {
      'key', key, 'body', value, 'state', all['state:' .. key] or 'gone',
      'since', all['since:' .. key] or '0', 'first_seen', all['first:' .. key] or '0',
      'last_seen', seen, 'spec_since', all['spec:' .. (all['identity:' .. key] or '')] or '0',
      'alive', alive(key, ARGV[1]) and '1' or '0', 'silent', text(math.max(0, now - tonumber(seen))),
    }
  elseif field:sub(1, 6) == 'queue:' then
    found[#found + 1] = {'queue', field:sub(7)}
  end
end
return found
"""
)
