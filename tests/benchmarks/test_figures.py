"""What the figures of published papers are made of: dynamic ranges, and what was measured."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir
import pytest
from benchmarks.support.dynamic import dynamic
from benchmarks.support.kept import kept
from tests.support.models.onnx_models import four_layers

from edgeq.calibration.observe import session_of
from edgeq.calibration.quantize import fold_onnx
from edgeq.data import load, normalize

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray


def test_dynamic_ranges_are_those_of_the_batch(tmp_path: Path) -> None:
    source = load("digits")
    images = normalize(source.test.images[:16], source)
    given = fold_onnx(ir.load(four_layers(tmp_path / "float.onnx")))

    def answers(model: ir.Model, size: int) -> NDArray[np.float32]:
        session = session_of(model, exact=True)
        entry = session.entries[0]
        parts = [images[start : start + size] for start in range(0, len(images), size)]
        return np.concatenate([np.asarray(session.run((), {entry: each})[0]) for each in parts])

    wanted = answers(given, 16)

    def off(bits: int, size: int) -> float:
        return float(np.square(answers(dynamic(given, bits, bits), size) - wanted).mean())

    assert off(8, 16) < 1e-3 * np.square(wanted).mean() < off(3, 16)
    assert off(8, 1) != off(8, 16)


def test_what_was_measured_is_not_measured_again(tmp_path: Path) -> None:
    path = tmp_path / "kept.json"
    assert [kept(path, name, name.upper) for name in ("a", "b", "a")] == ["A", "B", "A"]
    assert kept(path, "a", lambda: pytest.fail("measured again")) == "A"
