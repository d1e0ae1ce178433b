"""The folder in which the processes of a worker count for Prometheus."""

import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PREFIX = "hardpose-metrics-"
VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
"""prometheus_client looks for it when it is first imported, and never again."""
LEFT_SECONDS = 24 * 3600
"""After which a folder that nobody writes to was left behind by a worker that was killed."""


@contextmanager
def metrics_folder(temp_dir: Path) -> Iterator[Path]:
    """A folder below ``temp_dir`` that this process and those of its pool count in; removed at the end.

    Enter it before prometheus_client is imported.
    """
    for left in temp_dir.glob(f"{PREFIX}*"):
        if time.time() - _last_written(left) > LEFT_SECONDS:
            shutil.rmtree(left, ignore_errors=True)
    folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=temp_dir))
    os.environ[VARIABLE] = str(folder)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _last_written(folder: Path) -> float:
    """Unix time; now, if somebody else is removing it."""
    try:
        return max(path.stat().st_mtime for path in (folder, *folder.glob("*")))
    except FileNotFoundError:
        return time.time()
