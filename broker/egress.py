"""What may be asked of sites under one address: one rate and one circuit breaker for all workers behind it.

A site counts what an address asks, not what a worker asks. So the state is in Redis, every step is one Lua
script, and the only clock is the server's. See ``egress_scripts`` for the rules.
"""

from collections.abc import Iterable
from typing import Any, Literal

from broker.connection import Connection
from broker.egress_scripts import ALIVE, ASK, FORGET, POISONED, SUCCEEDED, VIEW
from broker.recipe import Frozen

EXPIRY_SECONDS = 7 * 24 * 3600
"""After which an address that nobody uses is forgotten; far longer than any pause."""
GRACE_SECONDS = 5.0
"""For which a place in the queue holds up those behind it once its time has come."""
PROBE_SECONDS = 120.0
"""For which the one who tries first after a pause may be silent before another one tries."""
PROBE_WAIT_SECONDS = 5.0
"""After which the others ask whether the probe has ended."""
MAX_WAIT_SECONDS = 900.0
"""Longest wait for the rate before asking again; so a place whose holder died is free soon after."""
UNLIMITED = 0.0
"""As ``videos_per_hour``: no rate, only the breaker."""


class Wait(Frozen):
    """Not now: ask again in ``seconds``."""

    seconds: float
    reason: Literal["rate", "breaker", "probe"]


class EgressView(Frozen):
    """The state of one egress, readable without its settings: whoever asks writes them down."""

    identity: str
    videos_per_hour: float
    """0: no rate."""
    burst: int
    granted: int
    """In the last hour, to the minute."""
    waiting: int
    """Those who hold a place in the queue."""
    next_seconds: float
    """Until the next video may be asked for, as far as the rate goes."""
    breaker: Literal["closed", "open", "half_open"]
    retry_seconds: float
    """Until the site may be tried again; 0 unless the breaker is open."""
    pause_seconds: float
    """The present pause of the breaker; 0 when it is closed."""
    cause: str
    """Why it opened."""


class Egress:
    """The rate and the breaker of one egress identity.

    Args:
        control: the shared state.
        identity: the same for all workers that a site sees under one address or account.
        videos_per_hour: that may be asked for; ``UNLIMITED`` for a breaker alone. A change takes effect
            with the next ``ask``.
        burst: videos that may be asked for at once after a quiet time.
        pause_seconds: of the breaker, the first time.
        max_pause_seconds: up to which the pause is doubled while the site goes on refusing.

    ``who`` names one piece of work, the same at every ``ask`` for it. Over any stretch of W seconds never
    more than ``burst + W * videos_per_hour / 3600`` asks are granted. Every method may raise
    BrokerUnavailable.
    """

    def __init__(
        self,
        control: Connection,
        identity: str,
        videos_per_hour: float,
        burst: int = 1,
        pause_seconds: float = 3600.0,
        max_pause_seconds: float = 6 * 3600.0,
    ) -> None:
        self.identity = identity
        self._control = control
        self._interval = round(3600.0 / videos_per_hour, 6) if videos_per_hour else 0.0  # as it is stored
        self._burst = burst
        self._pauses = (pause_seconds, max(pause_seconds, max_pause_seconds))

    def ask(self, who: str) -> Wait | None:
        """May ``who`` ask the site for a video now?

        Returns:
            None: yes, and the token is used up. Else how long to wait, with a place in the queue that is
            kept; ``GRACE_SECONDS`` after that it holds up nobody any more.
        """
        limits = (self._interval, self._burst, GRACE_SECONDS, MAX_WAIT_SECONDS)
        answer = self._run(ASK, who, *limits, PROBE_SECONDS, PROBE_WAIT_SECONDS)
        return Wait.model_validate({"reason": answer[0], "seconds": answer[1]}) if answer else None

    def alive(self, who: str) -> None:
        """``who`` is still at it: a probe keeps its role. For everybody else, nothing."""
        self._run(ALIVE, who, PROBE_SECONDS)

    def succeeded(self, who: str) -> None:
        """The site has answered ``who`` as it should, be it with a refusal of that one video.

        If ``who`` was the probe, the breaker closes and its pauses are forgotten. Anybody else's request was
        under way when the breaker opened and proves nothing.
        """
        self._run(SUCCEEDED, who)

    def poisoned(self, who: str, cause: str) -> float:
        """The site has flagged this address: the breaker opens.

        It opens once, however many requests under way are refused with it. Only a refused probe doubles the
        pause.

        Args:
            who: was refused.
            cause: for people to read.

        Returns:
            Seconds until the site may be tried again.
        """
        return float(self._run(POISONED, who, *self._pauses, cause[:500])[0])

    def inconclusive(self, who: str) -> None:
        """``who`` ended without an answer of the site: another one may probe. Changes nothing else."""
        self._run(FORGET, who)

    def forget(self, who: str) -> None:
        """``who`` will not ask again: its place in the queue and its role are free."""
        self._run(FORGET, who)

    def view(self) -> EgressView:
        """The state now."""
        return _view(self._control, self.identity)

    def _run(self, script: str, who: str, *args: float | str) -> list[str]:
        return run_script(self._control, script, self.identity, who, *args)


def egress_views(control: Connection) -> list[EgressView]:
    """Every egress that was used in the last days, by name.

    Raises:
        BrokerUnavailable: when it cannot be asked.
    """
    with control.server() as server:
        names: Any = server.zrange(control.key("egress:identities"), 0, -1)
    return [_view(control, str(name)) for name in sorted(names)]


def forget_everywhere(control: Connection, names: Iterable[str]) -> None:
    """Whoever these names are of will not ask again, whichever address they have asked under.

    Raises:
        BrokerUnavailable: when it cannot be asked.
    """
    gone = list(names)
    for identity in [view.identity for view in egress_views(control)] if gone else []:
        with control.server() as server:
            forget, pipe = server.register_script(FORGET), server.pipeline(transaction=False)
            for who in gone:
                forget(keys=_keys(control, identity), args=[identity, EXPIRY_SECONDS, who], client=pipe)
            pipe.execute()


def run_script(control: Connection, script: str, identity: str, who: str, *args: float | str) -> list[str]:
    """Runs one of the scripts on the keys of ``identity``."""
    with control.server() as server:
        run = server.register_script(script)
        answer: Any = run(keys=_keys(control, identity), args=[identity, EXPIRY_SECONDS, who, *args])
    return [str(value) for value in answer]


def _keys(control: Connection, identity: str) -> list[str]:
    parts = (f"egress:{identity}:{part}" for part in ("state", "queue", "due", "late", "minutes"))
    return [control.key(name) for name in (*parts, "egress:identities")]


def _view(control: Connection, identity: str) -> EgressView:
    answer = run_script(control, VIEW, identity, "")
    names = (
        "burst",
        "granted",
        "waiting",
        "next_seconds",
        "breaker",
        "retry_seconds",
        "pause_seconds",
        "cause",
    )
    interval = float(answer[0])
    fields = dict(zip(names, answer[1:], strict=True))
    rate = round(3600.0 / interval, 3) if interval else UNLIMITED
    return EgressView.model_validate({"identity": identity, "videos_per_hour": rate, **fields})
