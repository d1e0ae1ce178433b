"""A described device as a command: what the driver ``command`` starts, to copy from.

``python -m workers.devices.reference_command me.toml INPUT_DIR OUTPUT_DIR`` reads every PNG and JPEG of the
first folder and writes for each a PNG of the same name into the second: 8-bit grey, 0 background to 255
person. It ends with 0, with 75 when the device is away, and with 1 and a line on stderr for any other fault.
"""

import argparse
import os
from pathlib import Path

from broker.errors import HardposeError
from workers.devices.description import load_description, open_described
from workers.devices.errors import DeviceAway
from workers.pictures import decode_rgb, encode_png

SUFFIXES = (".png", ".jpg")


def draw(page: Path, inputs: Path, outputs: Path) -> int:
    """Draws the masks of all pictures in ``inputs``; how many.

    Raises:
        HardposeError: the page is wrong, a picture is damaged, or the device fails.
    """
    device = open_described(load_description(page))
    device.load()
    pictures = sorted(path for path in inputs.iterdir() if path.suffix in SUFFIXES)
    step = max(1, device.batch_size)
    for at in range(0, len(pictures), step):
        batch = pictures[at : at + step]
        answers = device.maps([decode_rgb(path.read_bytes()) for path in batch])
        for path, answer in zip(batch, answers, strict=True):
            (outputs / f"{path.stem}.png").write_bytes(encode_png(answer))
    return len(pictures)


def main() -> None:
    """Draws, and ends with the status that the docstring of this module says."""
    parser = argparse.ArgumentParser(description="Draws a described device's masks, from folder to folder.")
    parser.add_argument("description", type=Path, help="a me.toml")
    parser.add_argument("inputs", type=Path, help="a folder of PNG and JPEG files")
    parser.add_argument("outputs", type=Path, help="the folder to write to")
    given = parser.parse_args()
    try:
        draw(given.description, given.inputs, given.outputs)
    except DeviceAway as error:
        parser.exit(os.EX_TEMPFAIL, f"{error}\n")
    except HardposeError as error:
        parser.exit(1, f"{error}\n")


if __name__ == "__main__":
    main()
