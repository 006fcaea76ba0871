"""The order in which ONNX Runtime adds, found anew: random float sums, equal to the last bit."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import onnxruntime as ort
import pytest
import torch
from onnx import TensorProto, helper
from torch.nn import functional as F

from edgeq.targets.emulator.onnx.float_order import (
    Blocks,
    Lanes,
    block_size,
    chain,
    order_of,
    quads,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from edgeq.targets.emulator.onnx.float_order import Order


def run(op: str, feeds: Mapping[str, np.ndarray], **attributes: Any) -> np.ndarray:
    infos = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, values.shape)
        for name, values in feeds.items()
    ]
    node = helper.make_node(op, list(feeds), ["y"], **attributes)
    graph = helper.make_graph([node], "order", infos, [helper.make_empty_tensor_value_info("y")])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return np.asarray(session.run(None, dict(feeds))[0])


def drawn(*shape: int) -> np.ndarray:
    return np.random.default_rng(math.prod(shape)).normal(size=shape).astype(np.float32)


def product(order: Order, a: np.ndarray, b: np.ndarray, bias: np.ndarray | None) -> np.ndarray:
    """Every sum of ``bias + a @ b``, one column of taps each."""
    rows, columns = len(a), b.shape[1]
    row, column = (torch.from_numpy(i.reshape(-1)) for i in np.indices((rows, columns)))
    start = None if bias is None else torch.from_numpy(bias)[column]
    place = column if columns > 1 else row
    found = order(torch.from_numpy(a).T[:, row], torch.from_numpy(b)[:, column], start, place)
    return found.reshape(rows, columns).numpy()


SIZES = [
    (1, 16, 10),
    (1, 300, 7),
    (1, 64, 5),
    (4, 64, 10),
    (5, 300, 10),
    (5, 300, 40),
    (5, 300, 100),
    (5, 1500, 10),
    (36, 4, 36),
    (6, 20, 1),
]


@pytest.mark.parametrize("transposed", [0, 1])
@pytest.mark.parametrize(("rows", "taps", "columns"), SIZES)
def test_fully_connected_layers(rows: int, taps: int, columns: int, transposed: int) -> None:
    x, b = drawn(rows, taps), drawn(columns)
    w = drawn(columns, taps) if transposed else drawn(taps, columns)
    wanted = run("Gemm", {"x": x, "w": w, "b": b}, transB=transposed)
    order = order_of(rows, columns, taps, transposed=bool(transposed))
    np.testing.assert_array_equal(product(order, x, w.T if transposed else w, b), wanted)


@pytest.mark.parametrize(("rows", "taps", "columns"), SIZES)
def test_products_of_matrices(rows: int, taps: int, columns: int) -> None:
    a, b = drawn(rows, taps), drawn(taps, columns)
    np.testing.assert_array_equal(
        product(order_of(rows, columns, taps, transposed=False), a, b, None),
        run("MatMul", {"a": a, "b": b}),
    )


@pytest.mark.parametrize(
    ("channels", "filters", "kernel", "size"),
    [(16, 16, 3, 32), (64, 64, 3, 8), (256, 64, 1, 8), (3, 8, 5, 9), (8, 1, 3, 7)],
)
def test_convolutions(channels: int, filters: int, kernel: int, size: int) -> None:
    x, w, b = (
        drawn(1, channels, size, size),
        drawn(filters, channels, kernel, kernel),
        drawn(filters),
    )
    pad = kernel // 2
    wanted = run("Conv", {"x": x, "w": w, "b": b}, kernel_shape=[kernel, kernel], pads=[pad] * 4)[
        0
    ].reshape(filters, -1)
    taps = F.unfold(torch.from_numpy(x), kernel, padding=pad)[0].numpy()
    order = order_of(filters, taps.shape[1], len(taps), transposed=False)
    np.testing.assert_array_equal(
        product(order, w.reshape(filters, -1), taps, None) + b[:, None], wanted
    )


def test_an_order_that_is_not_the_runtimes_is_seen() -> None:
    """A negative control: the same sums, in blocks of another size."""
    a, b = drawn(5, 300), drawn(300, 40)
    assert block_size(40, 300) == 256
    assert (product(Blocks(64), a, b, None) != run("MatMul", {"a": a, "b": b})).any()


def test_orders_agree_where_nothing_is_rounded() -> None:
    x, w = (torch.randint(-8, 9, (37, 50)).to(torch.float32) for _ in range(2))
    exact, place = (x * w).sum(0), torch.arange(50)
    for order in (Blocks(16), quads, Lanes(50)):
        assert torch.equal(order(x, w, None, place), exact)
        assert torch.equal(order(x, w, exact, place), 2 * exact)
    assert torch.equal(chain(x, w), exact)
