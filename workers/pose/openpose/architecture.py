"""OpenPose's two body networks as tables: layers in order, their widths, and what each stage sees.

Sources: Z. Cao et al., "OpenPose: Realtime Multi-Person 2D Pose Estimation using Part Affinity Fields"
(arXiv 1812.08008), figure 3, for BODY_25; Z. Cao et al., CVPR 2017, figure 3, for COCO-18. The names are
those of the layers in the published weights files.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum

from workers.pose.openpose.skeletons import BODY_25, COCO_18, Skeleton

FEATURES = 128
"""Channels of the image features that every stage sees."""


class Activation(Enum):
    """What follows a convolution."""

    NONE = "none"
    RELU = "relu"
    PRELU = "prelu"


@dataclass(frozen=True)
class Conv:
    """A convolution with stride 1 that keeps the size.

    Attributes:
        name: of the layer.
        inputs: channels.
        outputs: channels.
        kernel: side.
        activation: what follows; the layer of a PReLU is ``prelu_name``.
        pooled: whether the input is halved first (largest of 2 x 2).
    """

    name: str
    inputs: int
    outputs: int
    kernel: int = 3
    activation: Activation = Activation.RELU
    pooled: bool = False

    @property
    def prelu_name(self) -> str:
        """``Mprelu1_stage0_L2_0`` of ``Mconv1_stage0_L2_0``."""
        return self.name.replace("conv", "prelu")

    def tensors(self) -> dict[str, list[tuple[int, ...]]]:
        """Shapes of the weights, by layer name."""
        shapes: dict[str, list[tuple[int, ...]]] = {
            self.name: [(self.outputs, self.inputs, self.kernel, self.kernel), (self.outputs,)]
        }
        if self.activation is Activation.PRELU:
            shapes[self.prelu_name] = [(self.outputs,)]
        return shapes


Step = tuple[Conv, ...]
"""Convolutions one after the other; when there are several, all their outputs are joined."""


@dataclass(frozen=True)
class Stage:
    """A part of the network with one output.

    Attributes:
        name: of its output.
        sees: names of the stages whose outputs are joined to its input, in this order.
        steps: its layers.
    """

    name: str
    sees: tuple[str, ...]
    steps: tuple[Step, ...]

    def convs(self) -> Iterator[Conv]:
        """All its convolutions."""
        return (conv for step in self.steps for conv in step)


@dataclass(frozen=True)
class Architecture:
    """A whole network: from ``image`` to the outputs of the stages ``heatmaps`` and ``pafs``."""

    stages: tuple[Stage, ...]
    heatmaps: str
    pafs: str

    def tensors(self) -> dict[str, list[tuple[int, ...]]]:
        """Shapes of all weights, by layer name."""
        shapes: dict[str, list[tuple[int, ...]]] = {}
        for stage in self.stages:
            for conv in stage.convs():
                shapes |= conv.tensors()
        return shapes


def architecture(skeleton: Skeleton) -> Architecture:
    """The network of a skeleton: 26,166,084 weights for BODY_25, 52,311,446 for COCO-18."""
    return _body25(skeleton) if skeleton is BODY_25 else _coco18(skeleton)


def _features(last: Activation) -> Stage:
    """The first ten layers of VGG-19 and two of OpenPose's own; ``last``: after the last three."""
    widths = (
        ("1_1", 3, 64), ("1_2", 64, 64), ("2_1", 64, 128), ("2_2", 128, 128), ("3_1", 128, 256),
        ("3_2", 256, 256), ("3_3", 256, 256), ("3_4", 256, 256), ("4_1", 256, 512),
    )  # fmt: skip
    convs = [Conv(f"conv{n}", a, b, pooled=n in ("2_1", "3_1", "4_1")) for n, a, b in widths]
    convs += [
        Conv("conv4_2", 512, 512, activation=last),
        Conv("conv4_3_CPM", 512, 256, activation=last),
        Conv("conv4_4_CPM", 256, FEATURES, activation=last),
    ]
    return Stage("features", ("image",), tuple((conv,) for conv in convs))


def _body25(skeleton: Skeleton) -> Architecture:
    """Four stages of affinity fields, then two of heat maps (arXiv 1812.08008, section 3.1)."""
    pafs, maps = skeleton.n_pafs, skeleton.n_heatmaps
    return Architecture(
        stages=(
            _features(Activation.PRELU),
            _dense_stage("stage0_L2", ("features",), FEATURES, pafs, first=True),
            *(
                _dense_stage(f"stage{i}_L2", ("features", f"stage{i - 1}_L2"), FEATURES + pafs, pafs)
                for i in (1, 2, 3)
            ),
            _dense_stage("stage0_L1", ("features", "stage3_L2"), FEATURES + pafs, maps, first=True),
            _dense_stage("stage1_L1", ("features", "stage0_L1", "stage3_L2"), FEATURES + maps + pafs, maps),
        ),
        heatmaps="stage1_L1",
        pafs="stage3_L2",
    )


def _dense_stage(name: str, sees: tuple[str, ...], inputs: int, outputs: int, first: bool = False) -> Stage:
    """Five blocks of three joined 3 x 3 convolutions, then two of 1 x 1; the first stages are narrower."""
    width, wide = (96, 256) if first else (128, 512)
    prelu, steps = Activation.PRELU, []
    for block in range(1, 6):
        into = (inputs if block == 1 else 3 * width, width, width)
        steps.append(
            tuple(Conv(f"Mconv{block}_{name}_{i}", into[i], width, activation=prelu) for i in range(3))
        )
    steps.append((Conv(f"Mconv6_{name}", 3 * width, wide, 1, prelu),))
    steps.append((Conv(f"Mconv7_{name}", wide, outputs, 1, Activation.NONE),))
    return Stage(name, sees, tuple(steps))


def _coco18(skeleton: Skeleton) -> Architecture:
    """Six stages of two branches: L1 the affinity fields, L2 the heat maps (CVPR 2017, section 2.1)."""
    branches = {"L1": skeleton.n_pafs, "L2": skeleton.n_heatmaps}
    stages = [_features(Activation.RELU)]
    stages += [_first_branch(branch, outputs) for branch, outputs in branches.items()]
    for number in range(2, 7):
        sees = (f"stage{number - 1}_L1", f"stage{number - 1}_L2", "features")
        inputs = sum(branches.values()) + FEATURES
        stages += [_branch(f"stage{number}_{b}", sees, inputs, outputs) for b, outputs in branches.items()]
    return Architecture(tuple(stages), heatmaps="stage6_L2", pafs="stage6_L1")


def _first_branch(branch: str, outputs: int) -> Stage:
    convs = [Conv(f"conv5_{i}_CPM_{branch}", 128, 128) for i in (1, 2, 3)]
    convs += [
        Conv(f"conv5_4_CPM_{branch}", 128, 512, 1),
        Conv(f"conv5_5_CPM_{branch}", 512, outputs, 1, Activation.NONE),
    ]
    return Stage(f"stage1_{branch}", ("features",), tuple((conv,) for conv in convs))


def _branch(name: str, sees: tuple[str, ...], inputs: int, outputs: int) -> Stage:
    convs = [Conv(f"Mconv{i}_{name}", inputs if i == 1 else 128, 128, 7) for i in range(1, 6)]
    convs += [
        Conv(f"Mconv6_{name}", 128, 128, 1),
        Conv(f"Mconv7_{name}", 128, outputs, 1, Activation.NONE),
    ]
    return Stage(name, sees, tuple((conv,) for conv in convs))


SKELETONS = (BODY_25, COCO_18)
"""All that ``architecture`` knows."""
