"""A stranger's package: models found by entry point, that are slow, deadly or plainly wrong on purpose."""

import os
from pathlib import Path

from gate import Gate

MODULE = '''
import os, signal, time
import numpy as np
from pathlib import Path
from broker.errors import Action, HardposeError
from broker.recipe import ModelSpec
from workers.contracts import Instance, Person
from workers.pose.blazepose import BlazePose

NOTES = Path(os.environ["ODD_NOTES"])


def note(text):
    with NOTES.open("a") as file:
        file.write(text + "\\n")


class Base:
    @classmethod
    def default_spec(cls):
        return ModelSpec(name=cls.__name__.lower(), version="1")

    batch_size = 1

    def __init__(self, spec, weights, compute):
        pass

    def load(self):
        pass


class Nobody(Base):
    """Finds nobody, at once."""

    def find_people(self, images):
        return [[] for _ in images]


class Slow(Base):
    """Takes its time over the first image of each segment, and notes which GPU its process sees."""

    def find_people(self, images):
        seen = [os.environ.get(name, "unset") for name in ("CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER")]
        note(" ".join(["slow", str(os.getpid()), *seen]))
        time.sleep(0.5)
        return [[] for _ in images]


class Gated(Base):
    """Notes each look when it begins; the look ends when the gate lets that many through."""

    def find_people(self, images):
        note(f"gated {os.getpid()}")
        mine = len(NOTES.read_text().splitlines())
        while mine > int(NOTES.with_name("gate").read_text()):
            time.sleep(0.02)
        return [[] for _ in images]


class Deadly(Base):
    """Ends its process on a dark image, as a crash in native code would."""

    def find_people(self, images):
        for image in images:
            if image.mean() < 40:
                note(f"deadly {os.getpid()}")
                os.kill(os.getpid(), signal.SIGKILL)
        return [[] for _ in images]


class Hanging(Base):
    """Never comes back from its first image."""

    def find_people(self, images):
        time.sleep(3600)


class Busy(HardposeError):
    action = Action.TRANSIENT


class Flaky(Base):
    """Fails once in a way that passes, then works."""

    def find_people(self, images):
        note("flaky")
        if len(NOTES.read_text().splitlines()) == 1:
            raise Busy("The model server is restarting.", "Wait.")
        return [[] for _ in images]


class Greedy(Base):
    """Runs out of memory on a dark image."""

    def find_people(self, images):
        for image in images:
            if image.mean() < 40:
                note("greedy")
                raise MemoryError
        return [[] for _ in images]


class Broken(Base):
    """Raises an error that nobody planned for."""

    def find_people(self, images):
        raise RuntimeError("tensor has the wrong shape")
'''

ENTRY_POINTS = """[hardpose.pose]
nobody = odd_models:Nobody
slow = odd_models:Slow
gated = odd_models:Gated
deadly = odd_models:Deadly
broken = odd_models:Broken
hanging = odd_models:Hanging
flaky = odd_models:Flaky
greedy = odd_models:Greedy
"""


def install(folder: Path) -> dict[str, str]:
    """Lays the package out in ``folder``; returns the environment that makes Python see it."""
    info = folder / "odd_models-1.0.dist-info"
    info.mkdir(parents=True)
    (folder / "odd_models.py").write_text(MODULE)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: odd-models\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(ENTRY_POINTS)
    path = os.pathsep.join(filter(None, [str(folder), os.environ.get("PYTHONPATH")]))
    notes = folder / "notes"
    notes.touch()
    Gate(notes).open()
    return {"PYTHONPATH": path, "ODD_NOTES": str(notes)}


def gate_of(models: dict[str, str]) -> Gate:
    """The gate of the model ``gated``.

    Args:
        models: what ``install`` returned.
    """
    return Gate(Path(models["ODD_NOTES"]))
