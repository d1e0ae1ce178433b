"""Writes ``me.toml`` pages of devices that are reached by HTTP or a command, and opens them."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from workers.devices.description import load_description, open_described


def write_page(path: Path, driver: str, section: dict, **keys) -> Path:
    """A page with a section of the driver's own; ``keys`` go to the top."""
    table = "network" if driver in ("litert", "onnx") else driver
    top = {"name": "me-2", "firmware": "1.0", "driver": driver, **keys}
    lines = [*map(_line, top.items()), f"[{table}]", *map(_line, section.items())]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def _line(pair) -> str:
    name, value = pair
    return f"{name} = {json.dumps(value)}"


def opened(path: Path, driver: str, section: dict, **keys):
    """The driver of a page that is written to ``path``."""
    return open_described(load_description(write_page(path, driver, section, **keys)))


@contextmanager
def reference_server(page: Path, *arguments: str) -> Iterator[str]:
    """The reference server in a process of its own on a free port; its ``/mask`` address."""
    line = [sys.executable, "-m", "workers.devices.reference_server", str(page), "--port", "0", *arguments]
    process = subprocess.Popen(line, stderr=subprocess.PIPE, text=True)
    try:
        said = []
        for text in process.stderr:
            said.append(text)
            if " on port " in text:
                break
        assert said and " on port " in said[-1], said
        yield f"http://127.0.0.1:{said[-1].split()[-1]}/mask"
    finally:
        process.terminate()
        process.wait(timeout=60)
        process.stderr.close()
