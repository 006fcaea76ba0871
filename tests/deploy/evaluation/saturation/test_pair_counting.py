"""Sums that saturate are counted on samples.

In the file as a whole, or layer by layer where something else in it cannot be emulated.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import pytest
from tests.support.models.qdq_models import Graph, Grid
from tests.support.runtimes.devices import reference

from edgeq.data import DataSource, Preprocessing, Split
from edgeq.deploy.evaluation.saturation.pair_counting import pair_overflows
from edgeq.deploy.evaluation.saturation.pair_saturation import Samples, layers_at_risk, with_counts
from edgeq.errors import ArtefactError, TargetError
from edgeq.target import TARGETS

if TYPE_CHECKING:
    from pathlib import Path

SIZE, CHANNELS = 6, 4
EMULATED = TARGETS.load("emulator:avx2")


def source() -> DataSource:
    images = np.random.default_rng(5).integers(0, 256, (24, SIZE, SIZE, CHANNELS), dtype=np.uint8)
    part = Split({"": images}, np.arange(24) % 5, np.arange(24))
    return DataSource(
        "noise",
        tuple("abcde"),
        part,
        part,
        part,
        Preprocessing.normalized((0.0,) * CHANNELS, (1 / 255,) * CHANNELS),
    )


def images() -> Any:
    return source().test.images[:].transpose(0, 3, 1, 2).astype(np.float32)


def saved(folder: Path, *, in_float: bool) -> Path:
    """A convolution, and a fully connected layer behind a view, that saturate.

    Behind a layer that x86 leaves in float, if asked.
    """
    graph = Graph()
    x = graph.input("x", ["N", CHANNELS, SIZE, SIZE], Grid(1.0))
    if in_float:
        x = graph.weighted(
            "Conv", x, "first", (CHANNELS, CHANNELS, 1, 1), Grid(1.0, 0, "int8"), levels=3
        )
        graph.op("Relu", [x], "other", Grid(1.0, 0, "int8"))  # a second reader: it stays int8
        x = graph.op("Identity", [x], "again", Grid(0.5))
    conv = graph.weighted("Conv", x, "conv", (8, CHANNELS, 3, 3), Grid(1.0), levels=127, relu=True)
    flat = graph.node("Flatten", [conv], "flat")
    graph.scales[flat] = graph.scales[conv]
    graph.weighted(
        "Gemm", flat, "last", (5, 8 * (SIZE - 2) ** 2), Grid(64.0, 128), transB=1, levels=127
    )
    path = folder / "net.onnx"
    onnx.save(graph.proto("last_dequantized", *(["other_dequantized"] if in_float else [])), path)
    return path


def counted(path: Path) -> dict[str, tuple[int, int, int]]:
    stats = pair_overflows(path, {"conv", "last"}, source(), source().test)
    return {name: (each.sums, each.pairs, each.wrong) for name, each in stats.items()}


def by_hand(path: Path) -> dict[str, tuple[int, int, int]]:
    """Pairs of the integers that exact kernels give, in 64 bits and clipped to 16."""
    model = onnx.load(path)
    stored = {
        each.name: onnx.numpy_helper.to_array(each).astype(np.int64)
        for each in model.graph.initializer
    }
    step = 0.5 if "again_scale" in stored else 1.0
    read = next(node.input[0] for node in model.graph.node if node.output[0] == "conv_sum")
    model.graph.output.extend(
        onnx.helper.make_empty_tensor_value_info(name) for name in (read, "conv_dequantized")
    )
    x, hidden = reference(model.SerializeToString(), {"x": images()}, [read, "conv_dequantized"])
    windows = np.lib.stride_tricks.sliding_window_view(
        np.rint(x / step).astype(np.int64), (3, 3), (2, 3)
    )
    rows = {
        "conv": windows.transpose(0, 2, 3, 4, 5, 1).reshape(-1, 9 * CHANNELS),
        "last": np.rint(hidden).astype(np.int64).reshape(24, -1),
    }
    weights = {
        "conv": stored["conv.weight_quantized"].transpose(0, 2, 3, 1).reshape(8, -1),
        "last": stored["last.weight_quantized"],
    }
    found = {}
    for name, taps in weights.items():
        products = rows[name][:, None] * taps
        pairs = products[..., ::2] + products[..., 1::2]
        kept = np.clip(pairs, -(2**15), 2**15 - 1)
        found[name] = (
            pairs.shape[0] * len(taps),
            int((kept != pairs).sum()),
            int((kept.sum(2) != pairs.sum(2)).sum()),
        )
    return found


def test_layers_are_counted_by_themselves_where_another_stays_in_float(tmp_path: Path) -> None:
    path = saved(tmp_path, in_float=True)
    with pytest.raises(TargetError, match="in float"):
        EMULATED.open(path)
    found = counted(path)
    assert found == by_hand(path)
    assert found["conv"][2] > 0


def test_a_file_is_counted_as_a_whole_where_it_can_be(tmp_path: Path) -> None:
    path = saved(tmp_path, in_float=False)
    whole, exact = counted(path), by_hand(path)
    assert whole["conv"] == exact["conv"]
    assert whole["last"] != exact["last"], "it reads what the convolution really gives there"


def test_a_layer_that_nothing_shows_is_not_counted(tmp_path: Path) -> None:
    path = saved(tmp_path, in_float=True)
    assert set(pair_overflows(path, {"conv", "of nobody"}, source(), source().test)) == {"conv"}


def test_an_audit_has_the_counts(tmp_path: Path) -> None:
    path = saved(tmp_path, in_float=True)
    layers = with_counts(
        layers_at_risk(path, TARGETS.load("ort-cpu").capabilities),
        path,
        Samples(source(), source().test),
    )
    assert {
        layer.tensor: (layer.sums, layer.saturated_pairs, layer.wrong_sums) for layer in layers
    } == by_hand(path)


@pytest.mark.parametrize("in_float", [False, True])
def test_data_that_do_not_fit_are_refused(in_float: bool, tmp_path: Path) -> None:
    path = saved(tmp_path, in_float=in_float)
    small = Split({"": np.zeros((4, 3, 3, 1), np.uint8)}, np.arange(4), np.arange(4))
    with pytest.raises(ArtefactError, match="wants samples of shape"):
        pair_overflows(
            path,
            {"conv"},
            DataSource(
                "small",
                tuple("abcd"),
                small,
                small,
                small,
                Preprocessing.normalized((0.0,), (1.0,)),
            ),
            small,
        )
