"""What records that hold files and arrays say of themselves: the facts, never every number."""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeq.brief import brief
from edgeq.data import load
from edgeq.exporter import Exported, ParityReport
from edgeq.quant import QuantizedTensor, QuantParams

ROOT = Path(__file__).parents[2]
ROOMS = ("src/edgeq", "models", "training", "calibration", "exporters", "targets", "deploy")
HEAVY = re.compile(r"NDArray|\bbytes\b|\bTensor\b|ndarray")


@dataclass(frozen=True, slots=True, eq=False)
class Record:
    name: str
    content: bytes = b""
    numbers: Any = None
    parts: tuple[Any, ...] = ()
    table: dict[str, Any] = field(default_factory=dict)

    __repr__ = brief


@pytest.mark.parametrize(
    ("record", "told"),
    [
        (Record("a"), "Record(name='a')"),
        (Record("a", b"x" * 12345), "Record(name='a', content=<12,345 bytes>)"),
        (Record("a", numbers=np.float32(0.5)), "Record(name='a', numbers=0.5)"),
        (Record("a", numbers=np.arange(3)), "Record(name='a', numbers=[0, 1, 2])"),
        (
            Record("a", numbers=np.zeros((2, 3, 4), np.int8)),
            "Record(name='a', numbers=<int8 2 x 3 x 4>)",
        ),
        (Record("a", parts=(1, b"22")), "Record(name='a', parts=(1, <2 bytes>))"),
        (Record("a", parts=("x",)), "Record(name='a', parts=('x',))"),
        (Record("a", parts=tuple("abcdef")), "Record(name='a', parts=<6 of str>)"),
        (Record("a", table={"k": np.zeros(9)}), "Record(name='a', table={'k': <float64 9>})"),
        (Record("a", table=dict.fromkeys("abcdef", 0)), "Record(name='a', table=<6 entries>)"),
        (Record("a" * 1000), f"Record(name='{'a' * 118}…)"),
    ],
)
def test_what_a_record_tells(record: Record, told: str) -> None:
    assert repr(record) == told


def test_a_file_in_memory_says_its_size_and_its_proof() -> None:
    told = repr(Exported(bytes(10**6), ParityReport(5, 1, 2, 2), path=Path("net.onnx")))
    for words in ("<1,000,000 bytes>", "weights=5", "different=()", "net.onnx"):
        assert words in told
    assert len(told) < 300


def test_data_and_tensors_are_short() -> None:
    assert len(repr(load("digits"))) < 1000
    values = np.zeros((64, 64, 3, 3), np.int8)
    assert len(repr(QuantizedTensor(values, QuantParams.of(np.ones(64, np.float32), axis=0)))) < 400


def test_tensors_of_torch_are_short_too() -> None:
    torch = pytest.importorskip("torch")
    assert (
        repr(Record("a", numbers=torch.zeros(3, 4)))
        == "Record(name='a', numbers=<torch.float32 3 x 4>)"
    )


def test_every_public_record_that_holds_bytes_or_arrays_is_brief() -> None:
    paths = (
        path
        for room in ROOMS
        for path in (ROOT / room).rglob("*.py")
        if "engines" not in path.parts
    )
    classes = (
        (path, node)
        for path in paths
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.ClassDef)
    )
    heavy = (
        (path, node) for path, node in classes if not node.name.startswith("_") and _is_heavy(node)
    )
    assert [
        f"{path.relative_to(ROOT)}: {node.name}" for path, node in heavy if not _is_brief(node)
    ] == []


def _is_heavy(node: ast.ClassDef) -> bool:
    if not any("dataclass" in ast.unparse(decorator) for decorator in node.decorator_list):
        return False
    kinds = [ast.unparse(part.annotation) for part in node.body if isinstance(part, ast.AnnAssign)]
    return any(HEAVY.search(kind) and "Callable" not in kind for kind in kinds)


def _is_brief(node: ast.ClassDef) -> bool:
    return any(
        isinstance(part, ast.Assign) and ast.unparse(part) == "__repr__ = brief"
        for part in node.body
    )
