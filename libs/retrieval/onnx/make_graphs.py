"""Writes the ONNX graphs of exact search, which are committed, and small networks for the tests.

Run it with the trainer's Python:

    python libs/retrieval/onnx/make_graphs.py                 rewrites the committed graphs
    python libs/retrieval/onnx/make_graphs.py --features      reads options as JSON from stdin, writes a network to stdout
"""

from __future__ import annotations

import json
import random
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

RETRIEVAL = Path(__file__).parents[1]
_TYPES = {'uint8': TensorProto.UINT8, 'float16': TensorProto.FLOAT16, 'float32': TensorProto.FLOAT, 'float64': TensorProto.DOUBLE}


def _model(
    name: str, inputs: list[Any], outputs: list[Any], nodes: list[Any], weights: list[Any] | None = None, *, opset: int = 17
) -> bytes:
    for index, node in enumerate(nodes):
        node.name = f'{node.op_type}_{index}'
    graph = helper.make_graph(nodes, name, inputs, outputs, weights or [])
    # IR version 8 goes with opset 17 and is read by every ONNX Runtime since 1.13; 13 goes with opset 26.
    ir_version = 8 if opset == 17 else 13
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid('', opset)], ir_version=ir_version, producer_name='cairn')
    onnx.checker.check_model(model)
    return model.SerializeToString(deterministic=True)


def _value(name: str, kind: int, shape: list[int | str]) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, shape)


def search() -> bytes:
    """Queries [Q, D] times block [B, D] transposed, then the `count` best rows of the block for each query.

    TopK orders equal scores by row. All sizes are dynamic, so one session serves all blocks.
    """
    return _model(
        'exact_search',
        [
            _value('queries', TensorProto.FLOAT, ['Q', 'D']),
            _value('block', TensorProto.FLOAT, ['B', 'D']),
            _value('count', TensorProto.INT64, [1]),
        ],
        [_value('values', TensorProto.FLOAT, ['Q', 'K']), _value('rows', TensorProto.INT64, ['Q', 'K'])],
        [
            helper.make_node('Gemm', ['queries', 'block'], ['scores'], transB=1),
            helper.make_node('TopK', ['scores', 'count'], ['values', 'rows'], axis=1),
        ],
    )


def product() -> bytes:
    """The product of `search` alone, which benchmarks compare with."""
    return _model(
        'product',
        [_value('queries', TensorProto.FLOAT, ['Q', 'D']), _value('block', TensorProto.FLOAT, ['B', 'D'])],
        [_value('scores', TensorProto.FLOAT, ['Q', 'B'])],
        [helper.make_node('Gemm', ['queries', 'block'], ['scores'], transB=1)],
    )


TILE = 64


def tiles(*, half: bool) -> bytes:
    """Queries [Q, D] times block [B, D] transposed, and the highest score of each query in each tile of 64 rows.

    B is a multiple of 64. With `half` the block holds the bits of float16: Node's binding has no tensors of float16.
    """
    widen = [
        helper.make_node('BitCast', ['block'], ['half'], to=TensorProto.FLOAT16),
        helper.make_node('Cast', ['half'], ['wide'], to=TensorProto.FLOAT),
    ]
    return _model(
        'tiled_search',
        [
            _value('queries', TensorProto.FLOAT, ['Q', 'D']),
            _value('block', TensorProto.UINT16 if half else TensorProto.FLOAT, ['B', 'D']),
        ],
        [_value('scores', TensorProto.FLOAT, ['Q', 'B']), _value('most', TensorProto.FLOAT, ['Q', 'T'])],
        [
            *(widen if half else []),
            helper.make_node('Gemm', ['queries', 'wide' if half else 'block'], ['scores'], transB=1),
            helper.make_node('Reshape', ['scores', 'shape'], ['tiled']),
            helper.make_node('ReduceMax', ['tiled', 'axes'], ['most'], keepdims=0),
        ],
        [
            numpy_helper.from_array(np.array([0, -1, TILE], np.int64), 'shape'),
            numpy_helper.from_array(np.array([2], np.int64), 'axes'),
        ],
        opset=26,
    )


def products() -> bytes:
    """Inner products of the rows of `a` [A, D] with those of `b` [B, D], in float64."""
    return _model(
        'products',
        [_value('a', TensorProto.DOUBLE, ['A', 'D']), _value('b', TensorProto.DOUBLE, ['B', 'D'])],
        [_value('products', TensorProto.DOUBLE, ['A', 'B'])],
        [helper.make_node('Gemm', ['a', 'b'], ['products'], transB=1)],
    )


def features(
    *,
    imageSize: int = 8,  # noqa: N803
    dim: int = 6,
    batch: int | str = 'N',
    input: str = 'images',  # noqa: A002
    inputType: str = 'uint8',  # noqa: N803
    output: str = 'features',
    outputType: str = 'float16',  # noqa: N803
    computeType: str = 'float32',  # noqa: N803
    channels: int = 3,
) -> bytes:
    """A network with the interface of exported models: uint8 images in, features of unit length out.

    It is one matrix product of the pixels with seeded random weights; a black image gives NaN.
    """
    draw = random.Random(7)
    pixels = imageSize * imageSize * channels
    weights = np.array([[draw.uniform(-1, 1) for _ in range(dim)] for _ in range(pixels)])
    return _model(
        'features',
        [_value(input, _TYPES[inputType], [batch, imageSize, imageSize, channels])],
        [_value(output, _TYPES[outputType], [batch, dim])],
        [
            helper.make_node('Cast', [input], ['pixels'], to=_TYPES[computeType]),
            helper.make_node('Flatten', ['pixels'], ['flat'], axis=1),
            helper.make_node('MatMul', ['flat', 'weights'], ['computed']),
            helper.make_node('Cast', ['computed'], ['product'], to=TensorProto.FLOAT),
            helper.make_node('ReduceL2', ['product'], ['length'], axes=[1], keepdims=1),
            helper.make_node('Div', ['product', 'length'], ['unit']),
            helper.make_node('Cast', ['unit'], [output], to=_TYPES[outputType]),
        ],
        [numpy_helper.from_array(weights.astype(computeType), 'weights')],
    )


COMMITTED = {
    'search/search.onnx': search,
    'search/tiles.onnx': lambda: tiles(half=False),
    'search/tiles-half.onnx': lambda: tiles(half=True),
    'rerank/products.onnx': products,
    'testing/bench/product.onnx': product,
}

if __name__ == '__main__':
    if sys.argv[1:] == ['--features']:
        sys.stdout.buffer.write(features(**json.load(sys.stdin)))
    else:
        for path, make in COMMITTED.items():
            (RETRIEVAL / path).write_bytes(make())
