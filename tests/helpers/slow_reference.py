"""The reference server of a device that takes its time: ``slow_reference.py PAGE PORT SECONDS NOTES``."""

import sys
import time
from pathlib import Path

from workers.devices.description import load_description, open_described
from workers.devices.reference_server import ReferenceServer


class Slow:
    """Waits over every picture, and notes when it begins."""

    batch_size = 1

    def __init__(self, device, seconds, notes):
        self._device, self._seconds, self._notes = device, seconds, notes

    def maps(self, images):
        with self._notes.open("a") as file:
            file.write(f"{time.time()}\n")
        time.sleep(self._seconds)
        return self._device.maps(images)


def main() -> None:
    device = open_described(load_description(Path(sys.argv[1])))
    device.load()
    slow = Slow(device, float(sys.argv[3]), Path(sys.argv[4]))
    with ReferenceServer(slow, "127.0.0.1", int(sys.argv[2])) as server:
        server.serve_forever()


if __name__ == "__main__":
    main()
