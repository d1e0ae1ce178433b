"""A CUDA driver of our own for machines without a GPU: the two calls that count GPUs, and their errors.

``FAKE_CUDA_GPUS`` is how many the machine has; their UUIDs are GPU-0, GPU-1 ... ``CUDA_VISIBLE_DEVICES``
works as the CUDA C++ Programming Guide says: the first entry that names no GPU ends the list.
``FAKE_CUDA_ERROR`` is what ``cuInit`` returns, if not 0.
"""

import os
import shutil
import subprocess
from pathlib import Path

SOURCE = r"""
#include <stdlib.h>
#include <string.h>
#include <stdio.h>

static int number(const char *name) { const char *v = getenv(name); return v ? atoi(v) : 0; }

static int count(void) {
    int here = number("FAKE_CUDA_GPUS"), seen = 0;
    const char *visible = getenv("CUDA_VISIBLE_DEVICES");
    if (!visible) return here;
    char list[256];
    snprintf(list, sizeof list, "%s", visible);
    for (char *item = strtok(list, ","); item; item = strtok(NULL, ",")) {
        char *end;
        if (!strncmp(item, "GPU-", 4)) item += 4;
        long index = strtol(item, &end, 10);
        if (end == item || *end || index < 0 || index >= here) break;
        seen++;
    }
    return seen;
}

int cuInit(unsigned flags) {
    int error = number("FAKE_CUDA_ERROR");
    return error ? error : count() ? 0 : 100;
}

int cuDeviceGetCount(int *found) { *found = count(); return 0; }
"""


def can_build() -> bool:
    return shutil.which("gcc") is not None


def build(folder: Path) -> str:
    """Builds ``libcuda.so.1`` in ``folder``; returns the value for ``LD_LIBRARY_PATH``."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "cuda.c").write_text(SOURCE)
    line = ["gcc", "-shared", "-fPIC", "-O1", "-o", str(folder / "libcuda.so.1"), str(folder / "cuda.c")]
    subprocess.run(line, check=True, timeout=60)
    return os.pathsep.join(filter(None, (str(folder), os.environ.get("LD_LIBRARY_PATH"))))
