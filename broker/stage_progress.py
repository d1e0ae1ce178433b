"""How many segments of a job each stage is done with: for bars and ETAs."""

from typing import Any

from broker.connection import EXPIRY_SECONDS, Connection
from broker.messages import Segment
from broker.recipe import CHAIN, Stage

SETTLED_SECONDS = 3600
"""For which the ticket of a settled segment is kept: a message that is delivered twice comes in minutes."""
_ADVANCE = """
if redis.call('SADD', KEYS[1], ARGV[1]) == 1 then redis.call('HINCRBY', KEYS[2], ARGV[2], 1) end
redis.call('EXPIRE', KEYS[1], ARGV[3])
redis.call('EXPIRE', KEYS[2], ARGV[3])
"""
_SETTLE = """
local known = 0
for n = 3, #KEYS do known = known + redis.call('SREM', KEYS[n], ARGV[1]) end
if known > 0 then
  redis.call('HINCRBY', KEYS[1], ARGV[2], 1)
  redis.call('EXPIRE', KEYS[1], ARGV[3])
end
if redis.call('GET', KEYS[2]) == ARGV[4] then redis.call('EXPIRE', KEYS[2], ARGV[5]) end
"""


class StageProgress(Connection):
    """Counts, and the names of those segments alone that are on their way: a job of a million segments takes
    no more memory than what is at work.
    """

    def advance(self, segment: Segment, stage: Stage) -> None:
        """Notes that ``stage`` is done with ``segment``; twice counts once.

        After the last stage nothing more is remembered of the segment, but for its ticket, for an hour.
        """
        counts = self.key(f"stage-counts:{segment.job_id}")
        with self.server() as server:
            if stage != CHAIN[-1]:
                keys = [self._under_way(segment.job_id, stage), counts]
                server.register_script(_ADVANCE)(keys=keys, args=[segment.key, stage, EXPIRY_SECONDS])
                return
            keys = [counts, self.key(f"ticket:{segment.key}")]
            keys += [self._under_way(segment.job_id, earlier) for earlier in CHAIN[:-1]]
            args = (segment.key, stage, EXPIRY_SECONDS, segment.ticket, SETTLED_SECONDS)
            server.register_script(_SETTLE)(keys=keys, args=args)

    def progress(self, job_id: str) -> dict[Stage, int]:
        """Segments of the job that each stage of the chain is done with, in this run of the job."""
        with self.server() as server:
            counts: Any = server.hmget(self.key(f"stage-counts:{job_id}"), list(CHAIN))
        return {stage: int(count or 0) for stage, count in zip(CHAIN, counts, strict=True)}

    def _under_way(self, job_id: str, stage: Stage) -> str:
        return self.key(f"progress:{job_id}:{stage}")
