import subprocess
import sys

import pytest

from workers.allocator import keep_freed_memory

PICTURES = 50
CODE = f"""
import resource
import numpy as np
from workers.allocator import keep_freed_memory

KEPT = keep_freed_memory() if {{keep}} else None
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
np.ones((1080, 1920, 3), np.uint8).sum()
before = faults()
for _ in range({PICTURES}):
    # Two at a time: glibc would learn from the first one that is freed, but not that both come again.
    first = np.ones((1080, 1920, 3), np.uint8)
    second = np.ones((1080, 1920, 3), np.uint8)
    del first, second
print(KEPT, faults() - before)
"""


def measured(keep: bool) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", CODE.format(keep=keep)], capture_output=True, text=True, check=True
    )
    return done.stdout.split()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's allocator")
def test_pictures_of_one_size_use_the_same_pages_again_and_again() -> None:
    _, without = measured(False)
    kept, with_it = measured(True)
    assert kept == "True"
    assert int(with_it) * 5 < int(without)


def test_a_process_that_goes_on_working_says_whether_it_could_be_set() -> None:
    assert keep_freed_memory() is sys.platform.startswith("linux")
