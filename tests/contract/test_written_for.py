"""A file that is written for a target is one that it takes, and nothing else is written."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from numpy.typing import NDArray
from tests.support.models.qdq_models import S8, S16, Graph, Grid

from edgeq.deploy.pipeline.export import export
from edgeq.errors import EdgeqError, TargetError, UsageError
from edgeq.exporter import ExportOptions
from edgeq.exporters.tflite import exporter
from edgeq.formats.dialect import TFLITE, TFLM
from edgeq.formats.onnx_io import serialize
from edgeq.formats.tflite_file import graph_of
from edgeq.target import TARGETS, Target, dialect_for

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

FAST = ("emulator", "ort-cpu", "ort-cpu-ref", "tflite", "tflite-builtin", "tflite-ref")
"""In this process; others start one, or compile."""
SHAPE = [1, 8, 4, 4]
WIDE = Grid(4e-4, 0, "int16")


def one(op: str, grid: Grid, source: Grid, **attributes: Any) -> Graph:
    graph = Graph()
    graph.op(op, [graph.input("x", SHAPE, source)], "y", grid, **attributes)
    return graph


def layers() -> Graph:
    graph = Graph()
    x = graph.input("x", SHAPE, S8)
    window: dict[str, Any] = {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]}
    a = graph.weighted("Conv", x, "a", (8, 8, 3, 3), S8, **window)
    graph.op("Add", [graph.op("Gelu", [a], "b", S8), a], "y", S8)
    return graph


FILES: dict[str, Callable[[], Graph]] = {
    "a gated sum": layers,
    "a table of 16 bits": lambda: one("Gelu", S16, WIDE),
    "16 bits from 8": lambda: one("HardSigmoid", Grid(2.0**-15, 0, "int16"), S8),
    "a maximum of 16 bits": lambda: one("GlobalMaxPool", S16, S16),
}


def usable(name: str) -> Target:
    target = TARGETS.load(name)
    if target.capabilities.dialect is None:
        with pytest.raises(UsageError, match="runs checkpoints"):
            dialect_for(name)
        pytest.skip("it runs checkpoints")
    if not target.probe().usable:
        pytest.skip(target.probe().why_not)
    return target


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("files")
    made = {name: folder / f"{i}.onnx" for i, name in enumerate(FILES)}
    for name, path in made.items():
        path.write_bytes(serialize(FILES[name]().output()))
    return made


@pytest.mark.parametrize(
    "name",
    [
        name if name in FAST else pytest.param(name, marks=pytest.mark.slow)
        for name in TARGETS.names()
    ],
)
def test_what_is_written_for_a_target_runs_there(
    name: str, files: dict[str, Path], tmp_path: Path
) -> None:
    target, written = usable(name), 0
    sample = np.random.default_rng(0).normal(0, 2, SHAPE).astype(np.float32)
    for source in files.values():
        try:
            (made,) = export(
                source, (), tmp_path, ExportOptions(), targets=[name], stem=source.stem
            )
        except EdgeqError as error:
            assert error.hint  # noqa: PT017  # whatever is refused says what would work
            assert not [path for path in tmp_path.iterdir() if path.name.startswith(source.stem)]
            continue
        with target.open(made.path) as session:
            assert np.isfinite(session.run(sample)).all()
        written += 1
    assert written


def test_what_a_dialect_lacks_is_written_otherwise_or_refused_by_name() -> None:
    made = exporter.export(FILES["a table of 16 bits"]().output(), ExportOptions(dialect=TFLM))
    kernels = [operator.name for operator in graph_of(made.content).operators]
    assert kernels == [
        *("CAST", "ADD", "GATHER", "CAST", "GATHER", "CAST", "MUL", "ADD", "ADD", "CAST"),
    ]
    with pytest.raises(
        EdgeqError, match=r"GlobalMaxPool 'y/GlobalMaxPool' .* no kernel for REDUCE_MAX"
    ) as told:
        exporter.export(FILES["a maximum of 16 bits"]().output(), ExportOptions(dialect=TFLM))
    assert "quantise what it reads and writes to 8 bits" in told.value.hint


@pytest.mark.parametrize("file", ["a table of 16 bits", "16 bits from 8"])
def test_both_forms_of_a_table_give_the_same_integers(file: str, tmp_path: Path) -> None:
    answers = list[NDArray[np.float32]]()
    sample = np.random.default_rng(1).normal(0, 4, SHAPE).astype(np.float32)
    for dialect, name in ((TFLITE, "tflite-ref"), (TFLM, "tflite-ref"), (TFLM, "emulator")):
        made = exporter.export(FILES[file]().output(), ExportOptions(dialect=dialect))
        assert made.parity.different == ()
        path = tmp_path / f"{name}{len(answers)}.tflite"
        path.write_bytes(made.content)
        with TARGETS.load(name).open(path) as session:
            answers.append(session.run(sample))
    np.testing.assert_array_equal(answers[0], answers[1])
    np.testing.assert_array_equal(answers[0], answers[2])


def test_a_target_that_refuses_a_file_stops_it_all(
    files: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = TARGETS.load("ort-cpu")

    def refuse(_self: object, _artefact: Path, **_options: object) -> None:
        raise TargetError("no kernel, on 1 thread", hint="use another")

    monkeypatch.setattr(type(target), "open", refuse)
    with pytest.raises(TargetError, match=r"ort-cpu refuses the file .* no kernel, on 1 thread"):
        export(files["a gated sum"], ("tflite",), tmp_path, ExportOptions(), targets=["ort-cpu"])
    assert list(tmp_path.iterdir()) == []
