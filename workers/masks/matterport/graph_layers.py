"""Keras layers as ONNX nodes, their batch normalisation folded into them."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from workers.masks.matterport.architecture import BATCH_NORM_EPSILON, Weights
from workers.onnx_graph import GraphWriter

Wide = NDArray[np.float64]


@dataclass(frozen=True)
class _Stored:
    kernel: str
    bias: str
    side: int


class LayerWriter:
    """Writes layers by their Keras names; what is used on several inputs is stored once.

    Args:
        graph: to write into; its ``half`` decides the arithmetic of the layers.
        weights: see ``h5.read_h5``.
    """

    def __init__(self, graph: GraphWriter, weights: Weights) -> None:
        self._graph, self._weights = graph, weights
        self._stored: dict[str, _Stored] = {}

    def conv(
        self, x: str, name: str, norm: str = "", stride: int = 1, relu: bool = False,
        channels: slice = slice(None),
    ) -> str:  # fmt: skip
        """A convolution that keeps the size (divided by ``stride``), N x C x H x W.

        Args:
            x: input.
            name: of the layer.
            norm: of the batch normalisation after it, if there is one.
            stride: both ways.
            relu: whether a ReLU follows.
            channels: the outputs that are wanted.
        """
        if name not in self._stored:
            kernel, bias = self._folded(name, norm)
            kernel = kernel.transpose(3, 2, 0, 1)[channels]
            self._stored[name] = self._store(kernel, bias[channels], kernel.shape[2])
        at = self._stored[name]
        pads = [at.side // 2] * 4
        y = self._graph.op(
            "Conv", x, at.kernel, at.bias,
            kernel_shape=[at.side] * 2, strides=[stride] * 2, pads=pads,
        )  # fmt: skip
        return self._graph.op("Relu", y) if relu else y

    def dense(
        self, x: str, name: str, norm: str = "", relu: bool = False, outputs: slice = slice(None)
    ) -> str:
        """A fully connected layer on rows, N x inputs. A convolution over a whole input is one too: its
        rows are then height x width x channels, flattened.

        Args:
            x: input.
            name: of the layer.
            norm: of the batch normalisation after it, if there is one.
            relu: whether a ReLU follows.
            outputs: those that are wanted.
        """
        kernel, bias = self._folded(name, norm)
        if kernel.ndim == 4:
            kernel = kernel.reshape(-1, kernel.shape[-1])
        at = self._store(kernel[:, outputs], bias[outputs], 1)
        y = self._graph.op("Gemm", x, at.kernel, at.bias)
        return self._graph.op("Relu", y) if relu else y

    def deconv(self, x: str, name: str) -> str:
        """A transposed 2 x 2 convolution of stride 2 and a ReLU: doubles the size."""
        kernel, bias = self._folded(name, "")
        at = self._store(kernel.transpose(3, 2, 0, 1), bias, 2)
        y = self._graph.op(
            "ConvTranspose", x, at.kernel, at.bias, kernel_shape=[at.side] * 2, strides=[at.side] * 2
        )
        return self._graph.op("Relu", y)

    def _folded(self, name: str, norm: str) -> tuple[Wide, Wide]:
        """Kernel in Keras' layout and bias, in float64 so that folding costs no accuracy."""
        kernel, bias = (self._weights[name, tensor].astype(np.float64) for tensor in ("kernel", "bias"))
        if not norm:
            return kernel, bias
        gamma, beta, mean, variance = (
            self._weights[norm, tensor].astype(np.float64)
            for tensor in ("gamma", "beta", "moving_mean", "moving_variance")
        )
        scale = gamma / np.sqrt(variance + BATCH_NORM_EPSILON)
        return kernel * scale, (bias - mean) * scale + beta

    def _store(self, kernel: Wide, bias: Wide, side: int) -> _Stored:
        return _Stored(self._graph.weights(kernel), self._graph.weights(bias), side)
