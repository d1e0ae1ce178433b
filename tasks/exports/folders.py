"""Plain folders: ``SPLIT/ARM/images``, ``masks`` (the teacher's) and ``device``, the same names in each."""

from pathlib import Path
from typing import Any

from tasks.dataset.pictures import Store
from tasks.exports.choice import Choice
from tasks.exports.pictures import read_pictures


def write_folders(choice: Choice, store: Store, folder: Path) -> dict[str, Any]:
    """Writes frames as JPEG and masks as PNG (0 and 255), all as they are stored.

    Raises:
        ArtifactMissing, PictureUnusable: see ``read_pictures``.
    """
    for frame in choice.frames:
        pictures = read_pictures(frame, store)
        place = folder / frame.split / frame.arm
        _put(place / "images" / f"{frame.name}.jpg", pictures.jpeg)
        _put(place / "masks" / f"{frame.name}.png", pictures.teacher.png)
        if pictures.device is not None:
            _put(place / "device" / f"{frame.name}.png", pictures.device.png)
    return {}


def _put(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
