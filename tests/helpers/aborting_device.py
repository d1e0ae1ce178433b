"""A stranger's device whose driver ends its process on red pictures: native code that crashes."""

import os
from pathlib import Path

MODULE = """
import os
import numpy as np
from broker.recipe import ModelSpec


class Aborting:
    batch_size = 4

    def __init__(self, spec, weights, compute):
        pass

    @classmethod
    def default_spec(cls):
        return ModelSpec(name="aborting", version="1")

    def load(self):
        pass

    def maps(self, images):
        for image in images:
            red, green, _ = image.reshape(-1, 3).mean(axis=0)
            if red > 200 and green < 50:
                os.abort()
        return [np.full((4, 4), 255, np.uint8) for _ in images]
"""


def install(
    folder: Path, name: str = "aborting", module: str = MODULE, kind: str = "Aborting"
) -> dict[str, str]:
    """Lays a package out in ``folder`` whose driver ``name`` is the class ``kind`` of ``module``.

    Returns:
        The environment that makes Python see it.
    """
    info = folder / f"{name}_device-1.0.dist-info"
    info.mkdir(parents=True)
    (folder / f"{name}_device_module.py").write_text(module)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}-device\nVersion: 1.0\n")
    points = f"[hardpose.devices]\n{name} = {name}_device_module:{kind}\n"
    (info / "entry_points.txt").write_text(points)
    return {"PYTHONPATH": os.pathsep.join(filter(None, [str(folder), os.environ.get("PYTHONPATH")]))}
