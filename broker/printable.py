"""Texts of strangers as they may be shown."""


def printable(text: str) -> str:
    """``text`` with ``?`` for everything that a terminal could take for a command, or cannot show at all.

    Titles, links and the words of sites are written by strangers.
    """
    return "".join(c if c.isprintable() else " " if c.isspace() else "?" for c in text)
