"""Options of the model pyopenpose, and what of them OpenPose is told."""

from dataclasses import dataclass

from broker.errors import SettingsError

Flags = dict[str, str | int | float | bool]

FIXED: Flags = {"model_pose": "BODY_25", "render_pose": 0}
"""What hardpose needs: the only skeleton with toes at its places, and no picture drawn (OpenPose
documentation, "Flags")."""
REFUSED = {
    *FIXED, "model_folder", "net_resolution", "number_people_max", "keypoint_scale", "body", "num_gpu_start",
}  # fmt: skip
"""Flags that would change what the answers mean, or that have an option or a setting of their own."""


@dataclass(frozen=True)
class PyOpenPoseOptions:
    """How OpenPose is run; the names that OpenPose's documentation of its flags has too mean the same.

    A person counts unless it has fewer than ``person_min_parts`` parts *and* their mean confidence is below
    ``person_min_confidence``: a frame must show exactly one person, and OpenPose makes fragments of people.

    Attributes:
        build: a name of your choice for your build of OpenPose and its weights; another name, another recipe.
        python: the interpreter for which the module was built; "": hardpose's own. It needs numpy.
        python_path: folder of the module ``openpose`` (or ``pyopenpose``), such as ``openpose/build/python``.
        model_folder: folder of the models; "": ``models/`` in the folder that the worker was started in.
        net_resolution: width x height of the network's input; -1: as the frame's shape wants.
        number_people_max: most people that are kept; -1: all.
        flags: any others, such as ``scale_number=2, scale_gap=0.25``.
        person_min_parts: a person with this many parts counts, whatever their confidence.
        person_min_confidence: a person with this mean confidence counts, however few its parts.
        frame_seconds: for one frame; an OpenPose that takes longer is killed.
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
    person_min_parts: int = 6
    person_min_confidence: float = 0.8
    frame_seconds: float = 60.0
    start_seconds: float = 300.0
    recycle_frames: int = 5000

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

    def check(self) -> None:
        """Refuses times and counts with which nothing would ever work.

        Raises:
            SettingsError: names the option.
        """
        for name in ("frame_seconds", "start_seconds"):
            if not getattr(self, name) > 0:
                raise SettingsError(
                    f"The option {name} of the model pyopenpose is {getattr(self, name)!r}.",
                    "Give a number of seconds above 0.",
                )
        if self.recycle_frames < 0:
            raise SettingsError(
                f"The option recycle_frames of the model pyopenpose is {self.recycle_frames}.",
                "Give a number of frames, or 0 for never.",
            )
