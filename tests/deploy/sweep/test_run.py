"""Sweeps from file to table: what is computed, what is kept, and what is told."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from tests.support.models import onnx_models

from edgeq.deploy.cli import run as edgeq
from edgeq.deploy.pipeline.shards import Shard
from edgeq.deploy.sweep.plan import read_sweep
from edgeq.deploy.sweep.run import TABLE, run_sweep
from edgeq.errors import ArtefactError, OutputError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.deploy.sweep.conftest import Inline

    from edgeq.deploy.sweep.run import SweepResult

    Planted = Callable[..., Path]


def swept(path: Path, engine: Inline, output: str = "out", **options: Any) -> SweepResult:
    return run_sweep(
        read_sweep(path),
        path.parent / output,
        engine,
        code=[f"planted_cells:{name}" for name in ("score", "odd")],
        **options,
    )


def test_a_cell_is_computed_once_and_the_grid_may_grow(planted: Planted, engine: Inline) -> None:
    path = planted()
    first = swept(path, engine)
    assert (first.cells, first.computed, first.missing) == (8, 8, 0)
    path.write_text(path.read_text().replace("x = [1, 2, 3, 4]", "x = [3, 4, 5]"))
    grown = swept(path, engine)
    assert (grown.cells, grown.computed) == (6, 2)
    assert engine.computed[8:] == [{"x": 5, "seed": 0}, {"x": 5, "seed": 1}]
    assert [row.figures["score"].mean for row in grown.rows] == [100.25, 99.25, 96.25]


def test_other_code_makes_other_cells(planted: Planted, engine: Inline) -> None:
    from edgeq.deploy.sweep.cells import code_hash

    path = planted()
    swept(path, engine)
    module = path.with_name("planted_cells.py")
    module.write_text(module.read_text().replace("100 -", "200 -"))
    code_hash.cache_clear()
    assert swept(path, engine).computed == 8


def test_what_fails_is_told_and_tried_again(planted: Planted, engine: Inline) -> None:
    found = swept(planted("odd"), engine)
    assert (found.computed, found.missing) == (2, 6)
    told = {parameters["x"]: error for parameters, error in found.failures}
    assert "fails with ValueError: no good" in told[1]
    assert told[2] == "the figure score is nan"
    assert told[3] == "planted_cells:odd gives [3], no dictionary"
    assert swept(planted("odd"), engine).computed == 0
    assert len(engine.computed) == 8 + 6


def test_parts_put_together_are_the_whole(planted: Planted, engine: Inline) -> None:
    path = planted()
    parts = [swept(path, engine, f"part{i}", shard=Shard(i, 3)) for i in (1, 2, 3)]
    assert sum(part.cells for part in parts) == 8
    folders = [path.parent / f"part{i}" for i in (1, 2, 3)]
    merged = swept(path, engine, "merged", merged=folders)
    assert (merged.computed, merged.missing, len(engine.computed)) == (0, 0, 8)
    whole = swept(path, engine, "whole")
    assert merged.rows[0].figures == whole.rows[0].figures
    tables = {(path.parent / name / TABLE).read_bytes() for name in ("merged", "whole")}
    assert len(tables) == 1
    with pytest.raises(UsageError, match="holds no sweep"):
        swept(path, engine, "again", merged=[path.parent])


def test_repeats_of_what_is_far_behind_are_left_out(planted: Planted, engine: Inline) -> None:
    more = '[stop]\nfigure = "score"\nbehind = 2.0\n'
    found = swept(planted(more=more), engine)
    assert found.stopped == ({"x": 1},)
    assert (found.cells, found.missing) == (7, 0)
    assert engine.computed[-3:] == [{"x": x, "seed": 1} for x in (2, 3, 4)]
    with pytest.raises(UsageError, match="has no parts"):
        swept(planted(more=more), engine, shard=Shard(1, 2))


def test_a_search_keeps_within_its_limits_and_tries_the_same_again(
    planted: Planted, engine: Inline
) -> None:
    pytest.importorskip("optuna")
    path = planted(more='[search]\nfigure = "score"\ntrials = 3\nlimits = { cost = 2 }\n')
    found = swept(path, engine)
    assert len(found.rows) == 3
    assert found.chosen is not None
    assert found.chosen.parameters["x"] == max(
        row.parameters["x"] for row in found.rows if row.parameters["x"] <= 2
    )
    again = swept(path, engine)
    assert (again.computed, again.chosen) == (0, found.chosen)


def test_only_code_that_is_named_is_run(planted: Planted, engine: Inline) -> None:
    sweep = read_sweep(planted())
    with pytest.raises(UsageError, match=r"planted_cells:score[\s\S]*--code planted_cells:score"):
        run_sweep(sweep, sweep.here / "out", engine)
    assert not (sweep.here / "out").exists()


def test_steps_are_command_lines(tmp_path: Path, engine: Inline) -> None:
    onnx_models.save(onnx_models.float_model(), tmp_path / "net.onnx")
    path = tmp_path / "steps.toml"
    path.write_text(
        '[grid]\nformat = ["onnx", "none"]\n'
        '[cell]\nsteps = ["lint {here}/net.onnx --run {format}"]\n'
        '[figures]\nbytes = "onnx/result.json"\nlayers = "onnx/result.json#/files/0/layers"\n'
    )
    found = run_sweep(read_sweep(path), tmp_path / "out", engine)
    (row,) = found.rows
    assert row.figures["layers"].mean == 2
    assert row.figures["bytes"].mean > 100
    ((parameters, error),) = found.failures
    assert (parameters, error) == ({"format": "none"}, "no step has written onnx/result.json")


def test_a_folder_of_something_else_is_left_alone(planted: Planted, engine: Inline) -> None:
    path = planted()
    with pytest.raises(OutputError, match="holds no sweep"):
        swept(path, engine, ".")
    swept(path, engine)
    cell = next((path.parent / "out").rglob("cell.json"))
    cell.write_text("{")
    with pytest.raises(ArtefactError, match="is broken"):
        swept(path, engine)


def test_the_command(planted: Planted, capsys: pytest.CaptureFixture[str]) -> None:
    path = str(planted())
    flags = ["--code", "planted_cells:score", "--jobs", "1", "--json"]
    assert edgeq(["sweep", path, *flags]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["result"]["computed"] == 8
    assert edgeq(["sweep", path, *flags[:-1]]) == 0
    said = capsys.readouterr().out
    assert "8 of 8 cells are in sweeps/planted, 0 of them new" in said
    assert edgeq(["sweep", path, "--engine", "fog"]) == 2
    assert edgeq(["sweep", path, "--address", "auto"]) == 2
    assert edgeq(["sweep", str(planted("odd")), "--code", "planted_cells:odd"]) == 1
    assert "6 of 8 cells failed:" in capsys.readouterr().err
