"""Outputs of several axes are matched by what the axes are: the converter's note, else the graph.

Sizes alone never decide between two.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import flatbuffers
import numpy as np
import pytest
from tests.support.models.qdq_models import Graph, Grid

from edgeq.data import DataSource, Preprocessing, Split
from edgeq.deploy.evaluation.chain import Pair
from edgeq.deploy.evaluation.compare import compare
from edgeq.deploy.evaluation.outputs.graph_axes import meaning_in_onnx, meaning_in_tflite
from edgeq.deploy.evaluation.outputs.output_axes import Output, in_order, order_like
from edgeq.deploy.evaluation.survey import survey
from edgeq.deploy.pipeline.export import export
from edgeq.errors import ArtefactError
from edgeq.exporter import ExportOptions
from edgeq.formats.tflite_file import notes_of
from edgeq.formats.tflite_schema import schema
from edgeq.target import TARGETS

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

GRID = Grid(0.05, 128)
# of images; also the channels that a convolution makes, so that every order of an image has the
# same sizes
SIDE = 4


def _conv(graph: Graph, channels: int = SIDE) -> str:
    source = graph.input("x", ["N", 3, SIDE, SIDE], Grid(0.04, 128))
    return graph.weighted(
        "Conv", source, "conv", (channels, 3, 3, 3), GRID, kernel_shape=[3, 3], pads=[1] * 4
    )


def _plain(graph: Graph) -> None:
    _conv(graph)


def _channels_last(graph: Graph) -> None:
    graph.node("Transpose", [_conv(graph)], "y", perm=[0, 2, 3, 1])


def _sides_swapped(graph: Graph) -> None:
    graph.node("Transpose", [_conv(graph)], "y", perm=[0, 1, 3, 2])


def _positions(graph: Graph) -> None:
    graph.node(
        "Reshape",
        [_conv(graph, SIDE * SIDE), graph.ints("shape", [0, SIDE * SIDE, SIDE * SIDE])],
        "y",
    )


def _positions_first(graph: Graph) -> None:
    graph.node(
        "Reshape",
        [_conv(graph, SIDE * SIDE), graph.ints("shape", [0, SIDE * SIDE, SIDE * SIDE])],
        "flat",
    )
    graph.node("Transpose", ["flat"], "y", perm=[0, 2, 1])


def _regrouped(graph: Graph) -> None:
    graph.node("Reshape", [_conv(graph, 8), graph.ints("shape", [0, SIDE, SIDE, 8])], "y")


def _softmax(graph: Graph) -> None:
    graph.node("Softmax", [_conv(graph)], "y", axis=1)


def _joined(graph: Graph) -> None:
    graph.node("Flatten", [_conv(graph)], "y")


TAILS = [
    _plain,
    _channels_last,
    _sides_swapped,
    _positions,
    _positions_first,
    _regrouped,
    _softmax,
    _joined,
]
BY_OPERATORS = [_plain, _channels_last, _sides_swapped, _softmax]


def _images(samples: int = 6) -> NDArray[np.float32]:
    return np.random.default_rng(1).normal(0, 2, (samples, 3, SIDE, SIDE)).astype(np.float32)


def _source(samples: int = 6) -> DataSource:
    images = np.random.default_rng(1).integers(0, 256, (samples, SIDE, SIDE, 3), dtype=np.uint8)
    part = Split({"": images}, np.zeros(samples, np.int64), np.arange(samples))
    return DataSource(
        "noise",
        ("a", "b"),
        part,
        part,
        part,
        Preprocessing.normalized((0.5,) * 3, (0.25,) * 3),
    )


def _files(folder: Path, tail: Any, **options: Any) -> tuple[Path, Path]:
    graph = Graph()
    tail(graph)
    source = folder / "source.onnx"
    source.write_bytes(graph.proto(graph.nodes[-1].output[0]).SerializeToString())
    written = export(source, ["onnx", "tflite"], folder, ExportOptions(**options), stem="net")
    return written[0].path, written[1].path


def _run(path: Path, target: str) -> NDArray[np.float32]:
    with TARGETS.load(target).open(path) as session:
        return session.run(_images())


def _without_note(path: Path) -> Path:
    """The file as a tool would have written it that leaves no note."""
    model = schema.ModelT.InitFromPackedBuf(path.read_bytes())
    model.metadata = []
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    plain = path.with_name("plain.tflite")
    plain.write_bytes(bytes(builder.Output()))
    return plain


def _in_order(
    first: Path, one: NDArray[np.float32], other: Path, two: NDArray[np.float32]
) -> NDArray[np.float32]:
    order = order_like(Output(first, one.shape[1:]), Output(other, two.shape[1:]))
    return in_order(two, order).reshape(one.shape)


def _close(one: NDArray[np.float32], two: NDArray[np.float32]) -> bool:
    """Equal to one step of the output's grid, or what a softmax makes of it."""
    return bool(np.abs(one - two).max() <= GRID.scale * 1.01)


@pytest.mark.parametrize("tail", TAILS)
@pytest.mark.parametrize(
    "options", [{}, {"io_layout": "nchw"}, {"io_type": "float32"}, {"io_type": "uint8"}]
)
def test_files_of_ours_are_matched_by_their_note(
    tmp_path: Path, tail: Any, options: dict[str, Any]
) -> None:
    onnx, tflite = _files(tmp_path, tail, **options)
    ours, theirs = _run(onnx, "ort-cpu-ref"), _run(tflite, "tflite-ref")
    assert _close(ours, _in_order(onnx, ours, tflite, theirs))
    assert _close(theirs, _in_order(tflite, theirs, onnx, ours))
    assert np.ptp(ours) > 20 * GRID.scale or tail is _softmax


def test_sizes_alone_would_have_been_wrong(tmp_path: Path) -> None:
    onnx, tflite = _files(tmp_path, _plain)
    ours, theirs = _run(onnx, "ort-cpu-ref"), _run(tflite, "tflite-ref")
    assert ours.shape == theirs.shape
    assert not _close(ours, theirs)


@pytest.mark.parametrize("tail", BY_OPERATORS)
def test_files_without_a_note_are_matched_by_their_operators(tmp_path: Path, tail: Any) -> None:
    onnx, tflite = _files(tmp_path, tail)
    plain = _without_note(tflite)
    ours, theirs = _run(onnx, "ort-cpu-ref"), _run(plain, "tflite-ref")
    assert _close(ours, _in_order(onnx, ours, plain, theirs))


@pytest.mark.parametrize("tail", BY_OPERATORS)
def test_the_operators_say_what_the_note_says(tmp_path: Path, tail: Any) -> None:
    onnx, tflite = _files(tmp_path, tail)
    notes = notes_of(tflite.read_bytes())
    assert notes is not None
    noted, meaning = list(notes["io"]["axes"].values())[-1], meaning_in_onnx(onnx)
    assert meaning is not None
    assert meaning_in_tflite(tflite) == tuple(meaning[axis] for axis in noted)


def test_where_nothing_tells_and_sizes_leave_one_order_it_is_taken(tmp_path: Path) -> None:
    onnx, tflite = _files(tmp_path, _regrouped)
    plain = _without_note(tflite)
    ours = _run(onnx, "ort-cpu-ref")
    ends = Output(onnx, ours.shape[1:]), Output(plain, ours.shape[1:])
    assert order_like(*ends) == (0, 1, 2)
    assert order_like(Output(onnx, (4, 4, 8)), Output(plain, (8, 4, 4))) == (1, 2, 0)


def test_where_nothing_tells_and_sizes_leave_two_orders_it_is_refused(tmp_path: Path) -> None:
    onnx, tflite = _files(tmp_path, _positions)
    with pytest.raises(ArtefactError, match="neither tells which axis is which"):
        order_like(Output(onnx, (16, 16)), Output(_without_note(tflite), (16, 16)))
    with pytest.raises(ArtefactError, match="answers with 4 values a sample"):
        order_like(Output(onnx, (2, 4)), Output(tflite, (4,)))


def test_dimensions_of_one_element_do_not_count(tmp_path: Path) -> None:
    onnx, tflite = _files(tmp_path, _positions)
    plain = _without_note(tflite)
    assert order_like(Output(onnx, (10,)), Output(plain, (1, 1, 10))) == (0, 1, 2)
    assert order_like(Output(onnx, (10, 1, 1)), Output(plain, (1, 1, 10))) == (0, 1, 2)


def test_an_image_of_one_row_or_one_channel(tmp_path: Path) -> None:
    onnx, tflite = _files(tmp_path, _plain)
    assert order_like(Output(onnx, (4, 1, 4)), Output(tflite, (1, 4, 4)))[:2] == (2, 1)
    assert order_like(Output(onnx, (1, 4, 4)), Output(tflite, (4, 4, 1)))[:2] == (0, 1)


@pytest.mark.parametrize("tail", [_plain, _positions, _joined])
def test_compare_and_survey_report_the_drift_of_equal_axes(tmp_path: Path, tail: Any) -> None:
    onnx, tflite = _files(tmp_path, tail)
    found = compare(
        [Pair(onnx, "ort-cpu-ref"), Pair(tflite, "tflite-ref"), Pair(tflite, "emulator")], _source()
    ).comparison
    assert all(hop.output.sqnr_db > 30 for hop in (*found.hops, *found.from_reference))
    rows = survey(
        [onnx],
        _source(),
        targets=["ort-cpu-ref", "tflite-ref"],
        reference="ort-cpu-ref",
        seconds=None,
    ).rows
    assert [max(map(abs, row.lsb), default=0) <= 1 for row in rows] == [True, True]
    assert sum(rows[1].lsb.values()) == 6 * SIDE**2 * (SIDE if tail is not _positions else SIDE**2)


def test_a_note_that_is_no_order_is_not_believed(tmp_path: Path) -> None:
    _, tflite = _files(tmp_path, _plain)
    content = tflite.read_bytes()
    wrong = content.replace(json.dumps([0, 2, 3, 1]).encode(), json.dumps([0, 2, 2, 1]).encode())
    assert wrong != content
    broken = tflite.with_name("broken.tflite")
    broken.write_bytes(wrong)
    square = Output(tflite, (4, 4, 4))
    assert order_like(square, Output(broken, (4, 4, 4))) == (0, 1, 2)
