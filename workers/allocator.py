"""Keeps the memory of pictures in the process, where glibc would give it back and fetch it anew each time."""

import ctypes
import logging
import sys

log = logging.getLogger(__name__)

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
"""glibc, malloc.h; mallopt(3)."""
MMAP_BYTES = 32 * 1024**2
"""Largest block that comes from the heap: the most that glibc takes (DEFAULT_MMAP_THRESHOLD_MAX). A 1080p
frame has 6 MB; by itself glibc maps it apart, and each of its pages comes from the kernel once more."""
TRIM_BYTES = 128 * 1024**2
"""Free memory at the end of the heap that is kept; a process holds so much more at most."""


def keep_freed_memory() -> bool:
    """Sets it for this process and those that it forks; says whether the C library could do it.

    Else a picture's pages are fetched from the kernel anew for every frame, which is some per cent of all CPU
    time. ``benchmarks.overhead`` gives its plain loop the same, so that the queue alone is compared.
    """
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        log.debug("this C library has no mallopt; freed memory goes back as it sees fit")
        return False
    return bool(mallopt(M_MMAP_THRESHOLD, MMAP_BYTES)) and bool(mallopt(M_TRIM_THRESHOLD, TRIM_BYTES))
