"""The options of OpenPose's models, part of a recipe: the network's size and arithmetic, the assembly."""

from dataclasses import dataclass

from broker.recipe import ModelSpec
from workers.options import read_options, require
from workers.pose.openpose.options import AssemblyOptions
from workers.pose.openpose.preprocess import SIDE, WIDEST

PRECISIONS = ("fp32", "fp16")


@dataclass(frozen=True)
class OpenPoseOptions(AssemblyOptions):
    """What decides the result of an OpenPose model besides its weights.

    Attributes:
        net_height: height of the network's input in pixels, a multiple of 16; the width follows the
            frame's shape. OpenPose's default; more finds smaller people and costs its square.
        max_net_width: widest input in pixels, a multiple of 16. 656 (16:9 at 368) is what OpenPose does
            with pictures, and it bounds the time of a panorama; a wider frame is made smaller until it
            fits. 0 is what OpenPose does with videos: no limit. Raise it together with ``net_height``.
        precision: "fp32", or "fp16": half the memory, and on a GPU about twice the speed.
    """

    net_height: int = 368
    max_net_width: int = 656
    precision: str = "fp32"


def checked_options(spec: ModelSpec) -> OpenPoseOptions:
    """The options of ``spec``; what is not given keeps its default.

    Raises:
        SettingsError: one is unknown, of the wrong type or out of range.
    """
    options = read_options(OpenPoseOptions, spec)
    for name, least in (("net_height", SIDE), ("max_net_width", 0)):
        side = getattr(options, name)
        fits = side % SIDE == 0 and least <= side <= WIDEST
        require(fits, name, side, f"a multiple of {SIDE} from {least} to {WIDEST}")
    require(
        options.precision in PRECISIONS, "precision", options.precision, f"one of {', '.join(PRECISIONS)}"
    )
    return options
