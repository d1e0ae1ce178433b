"""What the server does in one step with the lists that kombu keeps messages in: take, hold, ring.

A bell is a list beside those of a queue, with one entry or none. It is there for who waits: a worker that has
found nothing blocks on the bells of its queues, and takes by script when one of them rings. Whoever puts a
message rings, and whoever takes one leaves the bells of its queues as the queues are: a bell while anything
waits, none otherwise. So bells do not pile up while all are busy, many messages that come at once wake one
worker after the other, and no bell is needed for who is not yet waiting.

A bell that is lost, or was never rung, costs no message: every wait ends in an attempt to take.
"""

import hashlib

BELL_SECONDS = 3600
"""After which a bell that nobody heard is silent: longer than most work, before which a worker has last seen
the queue. A queue that is deleted by hand leaves none for longer."""

_NOW = """
local clock = redis.call('TIME')
local now = string.format('%s.%06d', clock[1], clock[2])
"""
_RING = f"""
local function ring(bell)
  if redis.call('EXISTS', bell) == 0 then
    redis.call('LPUSH', bell, 1)
    redis.call('EXPIRE', bell, {BELL_SECONDS})
  end
end
"""
RING = _RING + "ring(KEYS[1])"
"""Sent with its text: it is short, and so cannot fail on a server that has forgotten it."""
TAKE = (
    _RING
    + """
local queues = tonumber(ARGV[2])
local lists = #KEYS - queues - 2
local function leave(queue)
  local bell = KEYS[lists + queue]
  for n = queue, lists, queues do
    if redis.call('EXISTS', KEYS[n]) == 1 then
      ring(bell)
      return 1
    end
  end
  redis.call('DEL', bell)
  return 0
end
for n = 1, lists do
  local body = redis.call('RPOP', KEYS[n])
  if body then
    local more = 0
    for queue = 1, queues do more = more + leave(queue) end
    local back = ARGV[3 + (n - 1) % queues]
    if back == '' then return {KEYS[n], more, body} end
"""
    + _NOW
    + """
    redis.call('HSET', KEYS[#KEYS - 1], ARGV[1], '[' .. body .. back)
    redis.call('ZADD', KEYS[#KEYS], now, ARGV[1])
    return {KEYS[n], more}
  end
end
return false
"""
)
"""Takes a message of the first list that has one, and writes down that it is held (``QoS.append``).

Keys: the lists, the most urgent of each queue first, then a bell for each queue, then what is held, and since
when. Arguments: the tag that it is held by, the number of queues, then for each what ends its entry: where
the message goes back to; nothing if nobody will acknowledge it, and then it is answered and not held. The
answer: nothing; or the list, in how many of the queues more waits, and what is not held.

The server does nothing else meanwhile, and the message may be full of pictures: it is neither read here nor
answered, but asked for in the same breath (8 MB: 12 ms; it was 40).
"""
RENEW = (
    _NOW
    + """
for _, tag in ipairs(ARGV) do
  if redis.call('ZSCORE', KEYS[1], tag) then redis.call('ZADD', KEYS[1], now, tag) end
end
"""
)
"""A message that was acknowledged meanwhile must not come back to life."""


def sha_of(script: str) -> str:
    """What the server calls a script (Redis documentation, EVALSHA)."""
    return hashlib.sha1(script.encode(), usedforsecurity=False).hexdigest()
