"""The reference server of a device that waits at a gate: ``gated_reference.py PAGE PORT NOTES``."""

import os
import sys
import time
from pathlib import Path

from workers.devices.description import load_description, open_described
from workers.devices.reference_server import ReferenceServer


class Gated:
    """Notes each picture when it begins, and answers when it is let through (``gate.Gate``)."""

    batch_size = 1

    def __init__(self, device, notes):
        self._device, self._notes, self._gate = device, notes, notes.with_name("gate")

    def maps(self, images):
        with self._notes.open("a") as file:
            file.write(f"picture {os.getpid()}\n")
        mine = len(self._notes.read_text().splitlines())
        while mine > int(self._gate.read_text()):
            time.sleep(0.02)
        return self._device.maps(images)


def main() -> None:
    device = open_described(load_description(Path(sys.argv[1])))
    device.load()
    with ReferenceServer(Gated(device, Path(sys.argv[3])), "127.0.0.1", int(sys.argv[2])) as server:
        server.serve_forever()


if __name__ == "__main__":
    main()
