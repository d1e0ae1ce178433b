"""What a worker loads before its first task: libraries, the catalog, models, and what earlier ones left."""

import importlib

from broker.recipe import CHAIN, Stage
from tasks.runtime import Runtime


def preload(runtime: Runtime, stages: tuple[Stage, ...]) -> None:
    """Loads what the configured recipe needs for ``stages``, and no package of any other stage.

    A download worker also sweeps away the partial files of those before it, and finishes removals that
    were cut off.
    """
    if Stage.DOWNLOAD in stages:
        importlib.import_module("tasks.download")
        importlib.import_module("workers.downloads.parts").sweep(runtime.settings.temp_dir)
        importlib.import_module("tasks.erasing").finish_left(runtime)
    if Stage.DOWNLOAD in stages or Stage.COMPARE in stages:
        runtime.catalog  # noqa: B018 - made here and now
    chained = tuple(stage for stage in CHAIN if stage in stages)
    if chained:
        if chained != (Stage.ME,):  # a device does without OpenCV
            with runtime.loading(*chained):
                importlib.import_module("tasks.frames")
        runtime.load(chained)
