"""Writes a ``.tflite`` network anew in float32 and standard operations alone, so that it can be quantised.

The selfie network stores float16 weights behind DEQUANTIZE operations, ends in an operation of MediaPipe's
own, and has no signature; a quantiser finds nothing to quantise in it.
"""

from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

TRANSPOSE = b"Convolution2DTransposeBias"
"""MediaPipe's transposed convolution with a bias (mediapipe/util/tflite/operations/transpose_conv_bias.h)."""
BIAS_VERSION = 3
"""Of TRANSPOSE_CONV, from which it takes a bias (tensorflow/lite/tools/versioning)."""
SIGNATURE = "serving_default"


def write_plain(source: Path, to: Path) -> None:
    """Writes the network of ``source`` to ``to``: same function, float32, standard operations, a signature.

    Args:
        source: a network with one graph.
        to: the file to write.
    """
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAsModel(source.read_bytes(), 0))
    (graph,) = model.subgraphs
    graph.operators = [op for op in graph.operators if not _widened(model, graph, op)]
    for op in graph.operators:
        if model.operatorCodes[op.opcodeIndex].customCode == TRANSPOSE:
            _standard_transpose(model, graph, op)
    _drop_unused(model, graph)
    model.signatureDefs = [_signature(graph)]
    builder = flatbuffers.Builder(1 << 20)
    builder.Finish(model.Pack(builder), b"TFL3")
    to.write_bytes(bytes(builder.Output()))


def _widened(model: Any, graph: Any, op: Any) -> bool:
    """Whether ``op`` only widens float16 constants; their float32 then stands in its output's place."""
    code = model.operatorCodes[op.opcodeIndex]
    stored, wide = graph.tensors[op.inputs[0]], graph.tensors[op.outputs[0]]
    constant = model.buffers[stored.buffer].data
    is_dequantise = max(code.builtinCode, code.deprecatedBuiltinCode) == schema.BuiltinOperator.DEQUANTIZE
    if not is_dequantise or constant is None or stored.type != schema.TensorType.FLOAT16:
        return False
    values = np.frombuffer(np.asarray(constant, np.uint8).tobytes(), np.float16).astype(np.float32)
    wide.buffer = _buffer(model, values)
    return True


def _standard_transpose(model: Any, graph: Any, op: Any) -> None:
    padding, stride_w, stride_h = np.frombuffer(bytes(op.customOptions), np.int32).tolist()
    options = schema.TransposeConvOptionsT()
    # TfLitePadding counts from 1 (same, valid), the file's Padding from 0.
    options.padding, options.strideW, options.strideH = padding - 1, stride_w, stride_h
    shape = schema.TensorT()
    size = np.array(graph.tensors[op.outputs[0]].shape, np.int32)
    shape.name, shape.type, shape.shape = "mask_shape", schema.TensorType.INT32, [len(size)]
    shape.buffer = _buffer(model, size)
    graph.tensors.append(shape)
    image, weights, bias = op.inputs
    op.inputs = [len(graph.tensors) - 1, weights, image, bias]
    op.customOptions, op.builtinOptions = None, options
    op.builtinOptionsType = schema.BuiltinOptions.TransposeConvOptions
    op.opcodeIndex = len(model.operatorCodes)
    code = schema.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.TRANSPOSE_CONV
    code.version = BIAS_VERSION
    model.operatorCodes.append(code)


def _drop_unused(model: Any, graph: Any) -> None:
    """Tensors that no operation touches any more, such as the float16 weights, and their bytes."""
    lists = [indices for op in graph.operators for indices in (op.inputs, op.outputs)]
    used = sorted({int(i) for indices in [*lists, graph.inputs, graph.outputs] for i in indices} - {-1})
    at = {old: new for new, old in enumerate(used)} | {-1: -1}  # -1: an input that is left out
    for op in graph.operators:
        op.inputs, op.outputs = [at[int(i)] for i in op.inputs], [at[int(i)] for i in op.outputs]
    graph.inputs, graph.outputs = [at[int(i)] for i in graph.inputs], [at[int(i)] for i in graph.outputs]
    graph.tensors = [graph.tensors[old] for old in used]
    kept = {tensor.buffer for tensor in graph.tensors}
    for i, buffer in enumerate(model.buffers):
        if i not in kept:
            buffer.data = None


def _buffer(model: Any, values: Any) -> int:
    buffer = schema.BufferT()
    buffer.data = np.frombuffer(values.tobytes(), np.uint8)
    model.buffers.append(buffer)
    return len(model.buffers) - 1


def _signature(graph: Any) -> Any:
    signature = schema.SignatureDefT()
    signature.signatureKey, signature.subgraphIndex = SIGNATURE, 0
    signature.inputs = [_named(graph, i) for i in graph.inputs]
    signature.outputs = [_named(graph, i) for i in graph.outputs]
    return signature


def _named(graph: Any, index: int) -> Any:
    named = schema.TensorMapT()
    named.name, named.tensorIndex = graph.tensors[index].name, index
    return named
