"""ResNet-101 and the feature pyramid as ONNX nodes."""

from workers.masks.matterport.architecture import MEAN_PIXEL, block_names
from workers.masks.matterport.graph_layers import LayerWriter
from workers.onnx_graph import GraphWriter


def write_trunk(graph: GraphWriter, layers: LayerWriter, image: str) -> list[str]:
    """From the image to the pyramid.

    Args:
        graph: to write into.
        layers: its layers.
        image: N x 3 x S x S float32 RGB from 0 to 255.

    Returns:
        P2, P3, P4, P5, P6 in the graph's arithmetic: N x 256 x S/4 x S/4 ... S/64 x S/64.
    """
    return _pyramid(graph, layers, _resnet(graph, layers, image))


def _resnet(graph: GraphWriter, layers: LayerWriter, image: str) -> dict[int, str]:
    """Outputs of the stages 2 to 5."""
    x = graph.op("Sub", image, graph.constant([[[[value]] for value in MEAN_PIXEL]], "float32"))
    if graph.half:
        x = graph.cast(x, "float16")
    x = layers.conv(x, "conv1", "bn_conv1", stride=2, relu=True)
    x = graph.op("MaxPool", x, kernel_shape=[3, 3], strides=[2, 2], auto_pad="SAME_UPPER")
    stages: dict[int, str] = {}
    for stage in (2, 3, 4, 5):
        for block in block_names(stage):
            x = _block(graph, layers, x, block)
        stages[stage] = x
    return stages


def _block(graph: GraphWriter, layers: LayerWriter, x: str, block: str) -> str:
    """A bottleneck block. The first one of a stage projects its shortcut and, but in stage 2, halves the
    size, in its first 1 x 1 convolution as in the first version of ResNet.
    """
    first = block.endswith("a")
    stride = 2 if first and block != "2a" else 1
    res, norm = f"res{block}_branch", f"bn{block}_branch"
    y = layers.conv(x, f"{res}2a", f"{norm}2a", stride=stride, relu=True)
    y = layers.conv(y, f"{res}2b", f"{norm}2b", relu=True)
    y = layers.conv(y, f"{res}2c", f"{norm}2c")
    shortcut = layers.conv(x, f"{res}1", f"{norm}1", stride=stride) if first else x
    return graph.op("Relu", graph.op("Add", y, shortcut))


def _pyramid(graph: GraphWriter, layers: LayerWriter, stages: dict[int, str]) -> list[str]:
    top = layers.conv(stages[5], "fpn_c5p5")
    merged = [top]
    for stage in (4, 3, 2):
        side = layers.conv(stages[stage], f"fpn_c{stage}p{stage}")
        top = graph.op("Add", _doubled(graph, top), side)
        merged.insert(0, top)
    levels = [layers.conv(x, f"fpn_p{level}") for level, x in enumerate(merged, start=2)]
    return [*levels, graph.op("MaxPool", levels[-1], kernel_shape=[1, 1], strides=[2, 2])]


def _doubled(graph: GraphWriter, x: str) -> str:
    return graph.op(
        "Resize", x, "", graph.floats(1, 1, 2, 2),
        mode="nearest", coordinate_transformation_mode="asymmetric", nearest_mode="floor",
    )  # fmt: skip
