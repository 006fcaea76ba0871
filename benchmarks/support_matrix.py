"""The support matrix: families of networks, and what holds for each of them everywhere.

``python -m benchmarks.support_matrix`` measures every family, each in a process of its own that
yields to other work, and writes docs/results/support-matrix.md; names after it measure those only,
and print. Each row is kept in build/support-matrix until that folder is deleted, so that a run
which was stopped goes on; families that are named are measured again. timm and torchvision have to
be there for the families that come from them.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING

from tests.support.models.public.catalogue import FAMILIES

from benchmarks.support.matrix import COLUMNS, Cell, Row, measure
from edgeq.files import write_bytes
from edgeq.machine import fingerprint

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from tests.support.models.public.catalogue import Family

_PAGE = Path(__file__).parent.parent / "docs" / "results" / "support-matrix.md"
_INTRODUCTION = """# Support matrix

`python -m benchmarks.support_matrix` measures it again, and writes this page. {whole} of {all}
families are whole: every column holds.

Each network is small, has weights at random, and is written as people write it: timm's and
torchvision's own code where they have it, else code in the public style
(`tests/support/models/public`). What the columns say:

| column | holds where |
|---|---|
| QAT | `edgeq.quantize` takes the network as it is, and it trains |
| PTQ | `edgeq calibrate` takes what `torch.onnx.export` writes for one sample, as TFLite |
| export | the trained network becomes TFLite without a changed number: how many were compared |
| ort-cpu-ref | each tensor has torch's integers; different ones lie at ties, and are counted |
| tflite-ref | each operator, given equal integers, is within 1 LSB; different ones are counted |
| tflm | of the file written for it, its answers are those that edgeq's emulator predicts |
| emulator | every integer is that of `tflite-ref` and, given equal ones, of `ort-cpu-ref` for the \
ONNX file; those of functions such as GELU may differ at ties, and are counted |

{machine}

"""
_WIDTH = 100  # columns of prose
_KEPT = Path(__file__).parent.parent / "build" / "support-matrix"
_ALONE = "--alone"
_NICE = 10


def main(names: Sequence[str]) -> None:
    """Measure, then write the page, or print where names are given."""
    chosen = tuple(
        family
        for family in FAMILIES
        if not names or any(name.lower() in family.name.lower() for name in names)
    )
    _KEPT.mkdir(parents=True, exist_ok=True)
    for family in chosen:
        if names or not _place(family).exists():
            command = [sys.executable, "-m", "benchmarks.support_matrix", _ALONE, family.name]
            subprocess.run(command, check=True)
    rows = [_kept(family) for family in chosen]
    if names:
        sys.stdout.write(_table(rows))
    else:
        _PAGE.write_text(page(rows), encoding="utf-8")


def _alone(name: str) -> None:
    """Measure one family in this process, and keep its row."""
    os.nice(_NICE)
    (family,) = (each for each in FAMILIES if each.name == name)
    with tempfile.TemporaryDirectory(prefix="edgeq-") as folder:
        row = measure(family, Path(folder))
    cells = {column: asdict(cell) for column, cell in row.cells.items()}
    write_bytes(_place(family), json.dumps(cells).encode(), overwrite=True)


def _place(family: Family) -> Path:
    return _KEPT / f"{family.name.lower().replace(' ', '-').replace(',', '')}.json"


def _kept(family: Family) -> Row:
    cells = json.loads(_place(family).read_text(encoding="utf-8"))
    return Row(family, {column: Cell(**cell) for column, cell in cells.items()})


def page(rows: Sequence[Row]) -> str:
    """The page of documentation."""
    introduction = _INTRODUCTION.format(
        whole=sum(row.whole for row in rows),
        all=len(rows),
        machine=fill(
            f"Measured on {datetime.now(tz=UTC).date()} on {fingerprint().cpu}, by "
            f"{', '.join(_versions())}.",
            _WIDTH,
        ),
    )
    return introduction + _table(rows) + _refusals(rows)


def _versions() -> Iterable[str]:
    for package in ("torch", "torchvision", "timm", "onnxruntime", "ai-edge-litert"):
        try:
            yield f"{package} {version(package)}"
        except PackageNotFoundError:
            continue


def _table(rows: Sequence[Row]) -> str:
    lines = [
        f"| family | code | {' | '.join(COLUMNS)} |",
        f"|{'---|' * (len(COLUMNS) + 2)}",
    ]
    for row in rows:
        cells = (row.cells[name].text if row.cells[name].holds else "no" for name in COLUMNS)
        lines.append(f"| {row.family.name} | {row.family.source} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _refusals(rows: Sequence[Row]) -> str:
    """What stands in the way, by family and column."""
    lines = [
        fill(f"- {row.family.name}, {name}: {cell.text}", _WIDTH, subsequent_indent="  ")
        for row in rows
        for name, cell in row.cells.items()
        if not cell.holds and cell.text
    ]
    return "\n".join(["", "## What stands in the way", "", *lines, ""]) if lines else ""


if __name__ == "__main__":
    if sys.argv[1:2] == [_ALONE]:
        _alone(sys.argv[2])
    else:
        main(sys.argv[1:])
