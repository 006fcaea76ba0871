"""What the figures of published papers are made of: histograms, dynamic ranges, and the plot."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir
import pytest
from benchmarks.published.separable_layers import histograms
from benchmarks.support.dynamic import dynamic
from benchmarks.support.kept import kept
from benchmarks.support.plot import Panel, write_plot
from tests.support.models.onnx_models import four_layers

from edgeq.calibration.observe import session_of
from edgeq.calibration.quantize import fold_onnx
from edgeq.data import load, normalize

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray


def test_a_tensor_is_as_far_from_itself_as_its_entropy() -> None:
    tensor = np.random.default_rng(0).normal(size=5000).astype(np.float32)
    cross, divergence = histograms(tensor, tensor)
    assert divergence == pytest.approx(0.0, abs=1e-6)
    assert 0 < cross < math.log(256)
    assert histograms(tensor, np.round(tensor))[1] > 1.0


def test_dynamic_ranges_are_those_of_the_batch(tmp_path: Path) -> None:
    source = load("digits")
    images = normalize(source.test.images[:16], source)
    given = fold_onnx(ir.load(four_layers(tmp_path / "float.onnx")))

    def answers(model: ir.Model, size: int) -> NDArray[np.float32]:
        session = session_of(model, exact=True)
        entry = session.get_inputs()[0].name
        parts = [images[start : start + size] for start in range(0, len(images), size)]
        return np.concatenate([np.asarray(session.run(None, {entry: each})[0]) for each in parts])

    wanted = answers(given, 16)

    def off(bits: int, size: int) -> float:
        return float(np.square(answers(dynamic(given, bits, bits), size) - wanted).mean())

    assert off(8, 16) < 1e-3 * np.square(wanted).mean() < off(3, 16)
    assert off(8, 1) != off(8, 16)


def test_a_plot_has_a_line_for_each_series_and_leaves_out_what_a_logarithm_has_not(
    tmp_path: Path,
) -> None:
    path = tmp_path / "figures" / "plot.svg"
    panels = [
        Panel("one", "bits", "%", {"a<b": [(2.0, 10.0), (8.0, 90.0)]}, reference=(92.0, "float")),
        Panel("two", "layer", "QMSE", {"a<b": [(1.0, 0.0), (2.0, 1e-3)], "c": []}, log=True),
    ]
    write_plot(path, panels)
    made = path.read_text()
    found = re.findall(r'<polyline points="([^"]*)"', made)
    assert [len(points.split()) for points in found] == [2, 1, 0]
    assert all(f">{name}</text>" in made for name in ("a&lt;b", "c", "float"))


def test_what_was_measured_is_not_measured_again(tmp_path: Path) -> None:
    path = tmp_path / "kept.json"
    assert [kept(path, name, name.upper) for name in ("a", "b", "a")] == ["A", "B", "A"]
    assert kept(path, "a", lambda: pytest.fail("measured again")) == "A"
