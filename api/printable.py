"""Numbers and texts as they may be shown in a terminal."""

from broker.printable import printable as printable


def span(seconds: float) -> str:
    """A stretch of time in the unit that suits it: ``8 s``, ``58 min``, ``2.5 h``, ``9 days``."""
    if seconds < 99.5:
        return f"{max(0.0, seconds):.0f} s"
    if seconds < 99.5 * 60:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 99.5 * 3600 else f"{seconds / 86400:.0f} days"


def megabytes(count: float) -> str:
    """Millions of bytes, with a tenth where that says something: ``45.2``, ``1,203``."""
    millions = count / 1e6
    return f"{millions:.1f}" if millions < 1000 else f"{millions:,.0f}"


def counted(count: int, noun: str) -> str:
    """``1 link``, ``2 links``."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"
