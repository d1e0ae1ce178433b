"""What ``hardpose doctor`` has found."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at."""

    what: str
    ok: bool
    detail: str
    remedy: str = ""
    optional: bool = False
    """The system works without it."""
    warning: bool = False
    """It is there, and works, but not as it should."""

    @property
    def mark(self) -> str:
        """The first word of its line."""
        if self.ok:
            return "ok"
        return "WARNING" if self.warning else "absent" if self.optional else "MISSING"
