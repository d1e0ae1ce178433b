"""A CUDA driver of our own for machines without a GPU: what counts and describes GPUs, and its errors.

``FAKE_CUDA_GPUS`` is how many the machine has; their UUIDs are GPU-0, GPU-1 ..., or in full
GPU-00000001-0000-0000-0000-000000000000. ``FAKE_CUDA_SLICES`` is how many MIG slices there are (MIG-0 ...),
of which a process sees one at most. ``FAKE_CUDA_GIB`` is the memory of each. ``CUDA_VISIBLE_DEVICES`` works
as the CUDA C++ Programming Guide says: the first entry that names no GPU ends the list. Without
``CUDA_DEVICE_ORDER=PCI_BUS_ID`` the GPUs are counted the other way round. ``FAKE_CUDA_GONE`` names a file;
where it is there, the GPU whose number it holds has fallen off the bus: those behind it move up by one. With
``FAKE_CUDA_MIG=1`` a GPU's number shows its slice of the same number. ``FAKE_CUDA_ERROR`` is what ``cuInit``
returns, if not 0.
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

#define SLICE 256 /* added to the index of a MIG slice */
static int shown[64];

static int gone(void) {
    const char *name = getenv("FAKE_CUDA_GONE");
    FILE *file = name ? fopen(name, "r") : NULL;
    int index = -1;
    if (file && fscanf(file, "%d", &index) != 1) index = -1;
    if (file) fclose(file);
    return index;
}

static int by_bus(int index, int here) {
    const char *order = getenv("CUDA_DEVICE_ORDER");
    int nth = order && !strcmp(order, "PCI_BUS_ID") ? index : here - 1 - index;
    return gone() >= 0 && nth >= gone() ? nth + 1 : nth;
}

static int count(void) {
    int all = number("FAKE_CUDA_GPUS"), slices = number("FAKE_CUDA_SLICES"), seen = 0;
    int here = all - (gone() >= 0);
    const char *visible = getenv("CUDA_VISIBLE_DEVICES");
    if (!visible && number("FAKE_CUDA_MIG")) visible = "0";
    if (!visible) {
        for (; seen < here; seen++) shown[seen] = by_bus(seen, here);
        return seen;
    }
    char list[256];
    snprintf(list, sizeof list, "%s", visible);
    for (char *item = strtok(list, ","); item; item = strtok(NULL, ",")) {
        char *end;
        int uuid = !strncmp(item, "GPU-", 4), slice = !strncmp(item, "MIG-", 4);
        if (uuid || slice) item += 4;
        int full = strlen(item) > 8;
        long index = strtol(item, &end, full ? 16 : 10) - (slice && full ? SLICE : 0);
        if (end == item || (*end && !(full && *end == '-'))) break;
        if (index < 0 || index >= (slice ? slices : uuid ? all : here) || (uuid && index == gone())) break;
        if (!uuid && !slice && number("FAKE_CUDA_MIG")) slice = 1;
        shown[seen++] = slice ? SLICE + index : uuid ? index : by_bus(index, here);
        if (slice) break;
    }
    return seen;
}

int cuInit(unsigned flags) {
    int error = number("FAKE_CUDA_ERROR");
    return error ? error : count() ? 0 : 100;
}

int cuDeviceGetCount(int *found) { *found = count(); return 0; }

int cuDeviceGet(int *device, int ordinal) { *device = shown[ordinal]; return ordinal < count() ? 0 : 101; }

int cuDeviceTotalMem_v2(size_t *bytes, int device) {
    (void)device;
    *bytes = (size_t)number("FAKE_CUDA_GIB") << 30;
    return 0;
}

int cuDeviceGetUuid_v2(unsigned char *uuid, int device) {
    memset(uuid, 0, 16);
    uuid[2] = device >> 8;
    uuid[3] = device & 255;
    return 0;
}
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
