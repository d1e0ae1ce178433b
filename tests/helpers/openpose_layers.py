"""OpenPose's networks layer by layer, written apart from the program's own table: shapes and a prototxt.

The comparison with another reader of Caffe's files is worth something only when both tables were written
independently.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from workers.pose.openpose.caffemodel import Tensors


@dataclass(frozen=True)
class Layer:
    """A layer of a Caffe network; ``shapes`` are those of its weights."""

    kind: str
    name: str
    bottoms: tuple[str, ...]
    body: str = ""
    shapes: tuple[tuple[int, ...], ...] = ()

    def text(self) -> str:
        bottoms = "".join(f'bottom: "{bottom}" ' for bottom in self.bottoms)
        return (
            f'layer {{ name: "{self.name}" type: "{self.kind}" {bottoms}top: "{self.name}" {self.body} }}\n'
        )


class Net:
    """Collects layers; every call returns the new top."""

    def __init__(self) -> None:
        self.layers: list[Layer] = []

    def add(self, layer: Layer) -> str:
        self.layers.append(layer)
        return layer.name

    def conv(self, name: str, bottom: str, cin: int, cout: int, k: int = 3) -> str:
        body = f"convolution_param {{ num_output: {cout} kernel_size: {k} pad: {k // 2} }}"
        return self.add(Layer("Convolution", name, (bottom,), body, ((cout, cin, k, k), (cout,))))

    def relu(self, bottom: str) -> str:
        return self.add(Layer("ReLU", f"relu_{bottom}", (bottom,)))

    def prelu(self, name: str, bottom: str, channels: int) -> str:
        return self.add(Layer("PReLU", name, (bottom,), "", ((channels,),)))

    def pool(self, name: str, bottom: str) -> str:
        return self.add(
            Layer("Pooling", name, (bottom,), "pooling_param { pool: MAX kernel_size: 2 stride: 2 }")
        )

    def concat(self, name: str, *bottoms: str) -> str:
        return self.add(Layer("Concat", name, bottoms, "concat_param { axis: 1 }"))

    def prototxt(self, height: int, width: int) -> str:
        sides = " ".join(f"input_dim: {n}" for n in (1, 3, height, width))
        return f'name: "test" input: "image" {sides}\n' + "".join(layer.text() for layer in self.layers)

    def shapes(self) -> dict[str, tuple[tuple[int, ...], ...]]:
        return {layer.name: layer.shapes for layer in self.layers if layer.shapes}


def vgg(net: Net) -> str:
    top, channels = "image", 3
    for block, (count, width) in enumerate(((2, 64), (2, 128), (4, 256)), start=1):
        for number in range(1, count + 1):
            name = f"conv{block}_{number}"
            top, channels = net.relu(net.conv(name, top, channels, width)), width
        top = net.pool(f"pool{block}", top)
    return net.relu(net.conv("conv4_1", top, 256, 512))


def body25() -> Net:
    net = Net()
    top = vgg(net)
    for name, cin, cout in (("4_2", 512, 512), ("4_3_CPM", 512, 256), ("4_4_CPM", 256, 128)):
        top = net.prelu(f"prelu{name}", net.conv(f"conv{name}", top, cin, cout), cout)
    features = top
    paf = dense(net, "stage0_L2", features, 128, 96, 256, 52)
    for s in (1, 2, 3):
        seen = net.concat(f"concat_stage{s}_L2", features, paf)
        paf = dense(net, f"stage{s}_L2", seen, 180, 128, 512, 52)
    seen = net.concat("concat_stage0_L1", features, paf)
    heat = dense(net, "stage0_L1", seen, 180, 96, 256, 26)
    seen = net.concat("concat_stage1_L1", features, heat, paf)
    heat = dense(net, "stage1_L1", seen, 206, 128, 512, 26)
    net.concat("net_output", heat, paf)
    return net


def dense(net: Net, stage: str, top: str, cin: int, width: int, wide: int, cout: int) -> str:
    for block in (1, 2, 3, 4, 5):
        tops = []
        for i, channels in enumerate((cin, width, width)):
            name = f"{block}_{stage}_{i}"
            top = net.prelu(f"Mprelu{name}", net.conv(f"Mconv{name}", top, channels, width), width)
            tops.append(top)
        top, cin = net.concat(f"concat{block}_{stage}", *tops), 3 * width
    top = net.prelu(f"Mprelu6_{stage}", net.conv(f"Mconv6_{stage}", top, cin, wide, 1), wide)
    return net.conv(f"Mconv7_{stage}", top, wide, cout, 1)


def coco18() -> Net:
    net = Net()
    top = vgg(net)
    for name, cin, cout in (("conv4_2", 512, 512), ("conv4_3_CPM", 512, 256), ("conv4_4_CPM", 256, 128)):
        top = net.relu(net.conv(name, top, cin, cout))
    features, ends = top, {}
    for branch, cout in (("L1", 38), ("L2", 19)):
        top = features
        for i, cin, wide, k in ((1, 128, 128, 3), (2, 128, 128, 3), (3, 128, 128, 3), (4, 128, 512, 1)):
            top = net.relu(net.conv(f"conv5_{i}_CPM_{branch}", top, cin, wide, k))
        ends[branch] = net.conv(f"conv5_5_CPM_{branch}", top, 512, cout, 1)
    for s in range(2, 7):
        seen = net.concat(f"concat_stage{s}", ends["L1"], ends["L2"], features)
        for branch, cout in (("L1", 38), ("L2", 19)):
            top = seen
            for i in range(1, 6):
                top = net.relu(net.conv(f"Mconv{i}_stage{s}_{branch}", top, 185 if i == 1 else 128, 128, 7))
            top = net.relu(net.conv(f"Mconv6_stage{s}_{branch}", top, 128, 128, 1))
            ends[branch] = net.conv(f"Mconv7_stage{s}_{branch}", top, 128, cout, 1)
    net.concat("net_output", ends["L2"], ends["L1"])
    return net


def random_tensors(net: Net, seed: int, last: float) -> Tensors:
    """Weights without ties (He initialisation: standard deviation sqrt(2 / fan in)).

    Args:
        net: whose shapes.
        seed: other weights for each.
        last: scale of the last layer of each stage; keeps the maps in about -1 to 1.
    """
    rng, tensors = np.random.default_rng(seed), {}
    for name, shapes in net.shapes().items():
        scale = last if name.startswith(("Mconv7", "conv5_5")) else 1.0
        tensors[name] = [_kernel(shapes[0], scale, rng)] if len(shapes) == 2 else []
        low, high = (-0.05, 0.05) if len(shapes) == 2 else (0.05, 0.4)
        tensors[name].append(rng.uniform(low, high, shapes[-1]).astype(np.float32))
    return tensors


def _kernel(shape: tuple[int, ...], scale: float, rng: np.random.Generator) -> NDArray[np.float32]:
    spread = np.float32(scale * np.sqrt(2 / np.prod(shape[1:])))
    return rng.standard_normal(shape, np.float32) * spread
