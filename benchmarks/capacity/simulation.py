"""One run of the model, from its work to its outcome."""

from benchmarks.capacity.demand import Work
from benchmarks.capacity.fleet import Fleet
from benchmarks.capacity.model import Model
from benchmarks.capacity.outcome import Outcome, outcome_of


def simulate(
    work: Work, fleet: Fleet, seconds: float | None = None, warm_up: float = 0.0, seed: int = 0
) -> Outcome:
    """Runs the model.

    Args:
        work: what comes.
        fleet: who does it.
        seconds: that are counted; None: until everything that was there at the start is done.
        warm_up: seconds before the counting begins.
        seed: of all that is random.

    Raises:
        ValueError: if nothing would ever end: videos that arrive for ever and no time.
    """
    if seconds is None and work.videos_per_day:
        raise ValueError("videos that arrive for ever need a time")
    model = Model(work, fleet, seed)
    if warm_up:
        model.env.run(until=warm_up)
        model.reset()
    if seconds is None:
        model.env.run(until=model.all_done())
    else:
        model.env.run(until=model.env.now + seconds)
    return outcome_of(model)
