"""Options of the model pyopenpose, and what of them OpenPose is told."""

from dataclasses import dataclass

from broker.errors import SettingsError
from workers.options import require, require_range
from workers.pose.person_rule import PersonRule

Flags = dict[str, str | int | float | bool]

FIXED: Flags = {"model_pose": "BODY_25", "render_pose": 0}
"""What hardpose needs: the only skeleton with toes at its places, and no picture drawn (OpenPose
documentation, "Flags")."""
REFUSED = {
    *FIXED, "model_folder", "net_resolution", "number_people_max", "keypoint_scale", "body", "num_gpu_start",
}  # fmt: skip
"""Flags that would change what the answers mean, or that have an option or a setting of their own."""

SHORTEST, LONGEST = 0.001, 86400.0
"""Seconds for a frame or a start."""


@dataclass(frozen=True)
class PyOpenPoseOptions(PersonRule):
    """How OpenPose is run; the names that OpenPose's documentation of its flags has too mean the same.

    They are part of the recipe, the paths too, so the paths have to be the same on every machine that serves
    ``pose`` (a link in the file system makes them so), and another path is another recipe: a path may lead to
    another build or other weights, and nothing else here tells them apart.

    Attributes:
        build: a name of your choice for your build of OpenPose and its weights; another name, another recipe.
        python: the interpreter for which the module was built; "": hardpose's own. It needs numpy.
        python_path: folder of the module ``openpose`` (or ``pyopenpose``), such as ``openpose/build/python``.
        model_folder: folder of the models; "": ``models/`` in the folder that the worker was started in.
        net_resolution: width x height of the network's input; -1: as the frame's shape wants.
        number_people_max: most people that are kept; -1: all.
        flags: any others, such as ``scale_number=2, scale_gap=0.25``.
        frame_seconds: for one frame, at most a day; an OpenPose that takes longer is killed.
        start_seconds: for the start, and again for the first frame, at which networks are compiled.
        recycle_frames: after so many the process is replaced, which frees what it has leaked; 0: never.
    """

    build: str = ""
    python: str = ""
    python_path: str = ""
    model_folder: str = ""
    net_resolution: str = "-1x368"
    number_people_max: int = -1
    flags: str = ""
    frame_seconds: float = 60.0
    start_seconds: float = 300.0
    recycle_frames: int = 5000

    def __post_init__(self) -> None:
        super().__post_init__()
        require_range(self, SHORTEST, LONGEST, "frame_seconds", "start_seconds")
        wanted = "a number of frames, or 0 for never"
        require(self.recycle_frames >= 0, "recycle_frames", self.recycle_frames, wanted)

    def configuration(self) -> Flags:
        """The plain table that ``WrapperPython.configure`` gets.

        Raises:
            SettingsError: ``flags`` cannot be read, or names one that is not the user's to set.
        """
        own: Flags = {"net_resolution": self.net_resolution, "number_people_max": self.number_people_max}
        folder: Flags = {"model_folder": self.model_folder} if self.model_folder else {}
        return {**self._given(), **own, **folder, **FIXED}

    def _given(self) -> Flags:
        given: Flags = {}
        for item in filter(None, (part.strip() for part in self.flags.split(","))):
            name, equals, value = (part.strip() for part in item.partition("="))
            if not equals or not name.isidentifier():
                raise SettingsError(
                    f"The option flags of the model pyopenpose has {item!r} in it.",
                    'Write name=value, parted by commas, for example "scale_number=2, scale_gap=0.25".',
                )
            if name in REFUSED or (name, value) == ("num_gpu", "0"):
                raise SettingsError(
                    f"The option flags of the model pyopenpose sets {name} to {value!r}.",
                    f"Leave it out. Not to be set there: {', '.join(sorted(REFUSED))}, and num_gpu=0, which "
                    "switches OpenPose off.",
                )
            given[name] = value
        return given
