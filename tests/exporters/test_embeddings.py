"""Rows of tables by whole numbers that are an input: the same integers on every runtime.

From QDQ files with tables on a grid and in float, from float files, and from torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from onnx import TensorProto, helper
from tests.support.checks.exactness import check_rows_one_and_two
from tests.support.models.qdq_models import Graph, Grid
from torch import nn

from edgeq.calibration.quantize import quantize_onnx
from edgeq.deploy.evaluation.verify import verify_arrays
from edgeq.errors import ArtefactError, UsageError
from edgeq.exporter import ExportOptions
from edgeq.exporters.tflite import exporter as tflite
from edgeq.exporters.torch.lower import lower
from edgeq.formats.onnx_io import serialize
from edgeq.target import TARGETS
from edgeq.training.qat_transform import quantize
from edgeq.training.recipes.scheme import Scheme

if TYPE_CHECKING:
    from pathlib import Path

    import onnx_ir as ir

ROWS, SAMPLES = 12, 3
ON_ONNX = ("ort-cpu-ref", "ort-cpu", "emulator:onnx-reference")
ON_TFLITE = ("tflite-ref", "tflite-builtin", "emulator:tflite-reference")
GRIDS = {
    "uint8": Grid(0.05, 131, "uint8"),
    "int8": Grid(0.02, -7, "int8"),
    "int16": Grid(0.001, 0, "int16"),
}


def numbers(shape: tuple[int, ...], rows: int = ROWS, samples: int = SAMPLES) -> np.ndarray:
    found = np.random.default_rng(0).integers(0, rows, (samples, *shape))
    found.flat[:2] = 0, rows - 1
    return found


def picking(
    grid: Grid, shape: tuple[int, ...], row: tuple[int, ...], *, stored: bool, kind: int, moved: str
) -> ir.Model:
    """``table[ids]`` on a grid, its ids moved before."""
    graph = Graph()
    graph.inputs.append(helper.make_tensor_value_info("x", kind, ["N", *shape]))
    ids = "x"
    if moved == "one":
        ids = graph.node("Gather", ["x", graph.constant("at", np.int64(1))], "ids", axis=1)
    elif moved == "turned":
        turned = graph.node("Transpose", ["x"], "turned", perm=[0, 2, 1])
        ids = graph.node("Cast", [turned], "ids", to=TensorProto.INT32)
    elif moved == "cut":
        bounds = [graph.ints(f"cut_{name}", [at]) for name, at in (("low", 1), ("high", 3))]
        ids = graph.node("Slice", ["x", *bounds, graph.ints("cut_axes", [1])], "ids")
    limits = np.iinfo(grid.dtype)
    integers = graph.rng.integers(limits.min, limits.max + 1, (ROWS, *row)).astype(grid.dtype)
    table = (
        graph.stored("table", integers, grid.scale, zero=grid.zero)
        if stored
        else graph.constant("table", ((integers - grid.zero) * grid.scale).astype(np.float32))
    )
    graph.node("Gather", [table, ids], "y")
    return graph.model(graph.quantize("y", grid))


@pytest.mark.parametrize(
    ("grid", "shape", "row", "stored", "kind", "moved"),
    [
        ("uint8", (5,), (4,), True, TensorProto.INT64, ""),
        ("int8", (2, 3), (4,), False, TensorProto.INT32, "turned"),
        ("int8", (4,), (), True, TensorProto.INT64, "cut"),
        ("uint8", (3,), (2, 3), False, TensorProto.INT32, "one"),
        ("int16", (5,), (4,), False, TensorProto.INT64, ""),
    ],
)
def test_a_file_gives_the_same_integers_everywhere(
    grid: str,
    shape: tuple[int, ...],
    row: tuple[int, ...],
    stored: bool,
    kind: int,
    moved: str,
    tmp_path: Path,
) -> None:
    model = picking(GRIDS[grid], shape, row, stored=stored, kind=kind, moved=moved)
    exported = tflite.export(model, ExportOptions())
    assert exported.parity.different == ()
    (tmp_path / "net.onnx").write_bytes(serialize(model))
    (tmp_path / "net.tflite").write_bytes(exported.content)
    fed = numbers(shape).astype(np.float32)
    answers = {}
    # which turns no numbers of 32 bits, and picks none of 16
    micro = () if grid == "int16" or moved == "turned" else ("tflm",)
    for target in (*ON_ONNX, *ON_TFLITE, *micro):
        file = tmp_path / ("net.onnx" if target in ON_ONNX else "net.tflite")
        with TARGETS.load(target).open(file) as session:
            answers[target] = session.run(fed)
            assert session.inputs[0].rows == ROWS
    for target, answer in answers.items():
        np.testing.assert_array_equal(answer, answers["ort-cpu-ref"], target)


@pytest.mark.parametrize("target", ["ort-cpu-ref", "tflite-ref", "emulator", "tflm"])
@pytest.mark.parametrize(
    ("number", "told"),
    [
        (ROWS, f"table of {ROWS}, and the data hold the number {ROWS}"),
        (-1, "the data hold the number -1"),
        (0.5, "takes whole numbers of int"),
    ],
)
def test_numbers_without_a_row_are_told(
    target: str, number: float, told: str, tmp_path: Path
) -> None:
    model = picking(GRIDS["int8"], (5,), (4,), stored=True, kind=TensorProto.INT64, moved="")
    file = tmp_path / ("net.onnx" if target.startswith("ort") else "net.tflite")
    file.write_bytes(
        serialize(model)
        if target.startswith("ort")
        else tflite.export(model, ExportOptions()).content
    )
    fed = numbers((5,)).astype(np.float32)
    fed[1, 2] = number
    with TARGETS.load(target).open(file) as session, pytest.raises(ArtefactError, match=told):
        session.run(fed)


def test_what_computes_with_the_numbers_is_refused_by_name() -> None:
    graph = Graph()
    graph.inputs.append(helper.make_tensor_value_info("x", TensorProto.INT64, ["N", 3]))
    table = graph.stored("table", np.zeros((ROWS, 3), np.int8), 0.1)
    graph.node("Gather", [table, "x"], "rows")
    graph.node("Add", ["x", graph.constant("one", np.int64(1))], "more")
    graph.node("Gather", [table, "more"], "y")
    with pytest.raises(ArtefactError, match="whole numbers of the input 'x' are computed with"):
        tflite.export(graph.model(graph.quantize("y", GRIDS["int8"])), ExportOptions())


def test_a_calibrated_table_holds_rows_that_no_sample_picks() -> None:
    rng = np.random.default_rng(0)
    table = rng.normal(0, 1, (ROWS, 4)).astype(np.float32)
    table[7] = 30.0
    nodes = [
        helper.make_node("Gather", ["table", "ids"], ["rows"]),
        helper.make_node("Flatten", ["rows"], ["flat"]),
        helper.make_node("Gemm", ["flat", "w"], ["y"]),
    ]
    graph = Graph(nodes=nodes)
    graph.constant("table", table)
    graph.constant("w", rng.normal(0, 1, (12, 2)).astype(np.float32))
    graph.inputs.append(helper.make_tensor_value_info("ids", TensorProto.INT64, ["N", 3]))
    made = quantize_onnx(graph.model("y"), [np.arange(3, dtype=np.float32)[None]])
    stored = made.graph.initializers["table_quantized"].const_value
    scale = made.graph.initializers["table_scale"].const_value
    zero = made.graph.initializers["table_zero_point"].const_value
    assert stored is not None
    assert scale is not None
    assert zero is not None
    step = float(scale.numpy())
    reals = (stored.numpy().astype(int) - int(zero.numpy())) * step
    np.testing.assert_allclose(reals, table, atol=step / 2 * 1.01)
    with pytest.raises(ArtefactError, match=f"table of {ROWS}, and the data hold the number 99"):
        quantize_onnx(graph.model("y"), [np.full((1, 3), 99, np.float32)])


class TwoTowers(nn.Module):
    """A user by number and features, an item by several numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.user, self.item = nn.Embedding(9, 4, padding_idx=0), nn.EmbeddingBag(ROWS, 6)
        self.first, self.second = nn.Linear(4 + 3, 6), nn.Linear(6, 6)

    def forward(self, user: Any, features: Any, item: Any) -> Any:
        one = self.first(torch.cat([self.user(user[:, 0]), features], 1)).relu()
        return (one * self.second(self.item(item))).sum(1, keepdim=True)


class SequenceFirst(nn.Module):
    """The batch stands second; the last layer has the table's weights."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.places = nn.Embedding(ROWS, 6), nn.Embedding(5, 6)
        self.last = nn.Linear(6, ROWS, bias=False)
        self.last.weight = self.words.weight

    def forward(self, x: Any) -> Any:
        places = torch.arange(x.shape[1], device=x.device)
        rows = self.words(x.t()).permute(1, 0, 2) + self.places(places)
        return self.last(rows.relu())


NETWORKS = {
    "two towers": (
        TwoTowers,
        (numbers((1,), 9), np.ones((3, 3), np.float32), numbers((4,))),
    ),
    "sequence first": (SequenceFirst, (numbers((5,)),)),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_a_trained_network_is_exact(name: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    build, arrays = NETWORKS[name]
    fed = [torch.from_numpy(array) for array in arrays]
    model = quantize(build(), Scheme(), fed).train()
    model(*fed).square().mean().backward()
    model.eval()
    lowered = lower(model, [array.shape[1:] for array in arrays])
    exported = tflite.export(lowered, ExportOptions())
    assert exported.parity.different == ()
    (tmp_path / "net.tflite").write_bytes(exported.content)
    with TARGETS.load("tflm").open(tmp_path / "net.tflite") as session:
        names = [spec.name for spec in session.inputs]
        batch = dict(zip(names, arrays, strict=True))
        found = session.run(batch)
    with TARGETS.load("emulator:tflm").open(tmp_path / "net.tflite") as session:
        np.testing.assert_array_equal(session.run(batch), found)
    one = {name: array[:1] for name, array in batch.items()}
    assert all(each.worst <= 1 for each in verify_arrays(lowered, exported, [one]).tensors)
    if len(arrays) == 1:
        assert check_rows_one_and_two(model, arrays[0], tmp_path, lowered).compared


@pytest.mark.parametrize(
    ("forward", "told"),
    [
        (lambda net, x: net.table(x) * (x != 0).unsqueeze(-1), "computes with the numbers of x"),
        (lambda net, x: net.bound(x), "max_norm"),
        (lambda net, x: net.bag(x.flatten(), torch.tensor([0])), "offsets"),
    ],
)
def test_what_has_no_form_is_refused_by_name(forward: Any, told: str) -> None:
    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table = nn.Embedding(ROWS, 4)
            self.bound = nn.Embedding(ROWS, 4, max_norm=1.0)
            self.bag = nn.EmbeddingBag(ROWS, 4)

        def forward(self, x: Any) -> Any:
            return forward(self, x)

    with pytest.raises(UsageError, match=told):
        quantize(Network(), Scheme(), torch.from_numpy(numbers((5,))))


def test_a_number_without_a_row_is_told_in_training_too() -> None:
    model = quantize(nn.Sequential(nn.Embedding(ROWS, 4), nn.Flatten(), nn.Linear(8, 2)), Scheme())
    with pytest.raises(UsageError, match=f"table of {ROWS} rows is asked for the numbers 0 to 12"):
        model(torch.tensor([[0, ROWS]]))
