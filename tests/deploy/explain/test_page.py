"""The page of ``edgeq calibrate --explain``."""

from __future__ import annotations

from html.parser import HTMLParser
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from tests.support.models.onnx_models import four_layers

import edgeq
from edgeq.calibration.inspection.layer_costs import LayerCost
from edgeq.calibration.inspection.profiles import (
    FOLDED,
    IN_FILE,
    STORED,
    Distribution,
    LayerProfile,
    Ranges,
)
from edgeq.deploy.cli import run
from edgeq.deploy.explain.page import DETAILED, render
from edgeq.errors import OutputError

if TYPE_CHECKING:
    from pathlib import Path

_EMPTY = {"meta", "br", "polyline", "circle", "rect", "line", "path"}


class Reader(HTMLParser):
    """Sees that elements close in their order, and counts them."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[str] = []
        self.links: list[str] = []
        self.feed(page)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append(tag)
        self.links += [value or "" for name, value in attrs if name in ("href", "src")]
        if tag not in _EMPTY:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def profile(name: str, sqnr_db: float, **settings: Any) -> LayerProfile:
    random = np.random.default_rng(0)
    weights, values = random.normal(size=(200, 9)), random.normal(size=(4, 5, 6))
    cost = LayerCost(name, "Conv", "t", sqnr_db, 40.0, float("inf"), 0.25, 0.5, 1, 200, "clipping")
    stages = {each: Ranges.of(weights, 0) for each in (IN_FILE, FOLDED, STORED)}
    seen = settings or {
        "results": Ranges.of(values, 1),
        "grid": (-3.0, 3.0),
        "result_values": Distribution.of({"float": values}),
    }
    return LayerProfile(cost, stages, weight_values=Distribution.of({"float": weights}), **seen)


def test_the_page_is_whole_and_asks_for_nothing() -> None:
    nothing = {"results": None, "grid": None, "result_values": None}
    layers = [profile("a", 30.0), profile("<script>b</script>", 20.0, **nothing)]
    page = render("<i>net</i>", ["a fact & more"], ["told"], layers)
    found = Reader(page)
    assert "script" not in found.seen
    assert "i" not in found.seen
    assert all(link.startswith("#") for link in found.links)
    assert "default-src 'none'" in page
    assert found.seen.count("svg") == 3 + 4 + 2
    assert "25.00" in page
    assert "96 of 200 channels" in page
    assert page.index("b&lt;/script&gt;: 20.0 dB") < page.index("a: 30.0 dB"), "costly ones first"


def test_only_the_most_costly_layers_are_drawn_one_by_one() -> None:
    layers = [profile(f"layer {number}", 20.0 + number) for number in range(DETAILED + 2)]
    found = Reader(render("net", [], [], layers))
    assert found.seen.count("details") == DETAILED
    assert found.seen.count("tr") == 2 + len(layers)


def test_the_command_and_python_write_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    network = four_layers(tmp_path / "float.onnx")
    made, page = tmp_path / "made.onnx", tmp_path / "made.html"
    asked = ["calibrate", str(network), "--data", "digits", "--samples", "16", "-o", str(made)]
    assert run([*asked, "--explain", str(tmp_path / "made.txt")]) == 2
    assert "does not end in .html" in capsys.readouterr().err
    assert run([*asked, "--held-back", "20", "--method", "equalize", "--explain", str(page)]) == 0
    text = page.read_text("utf-8")
    assert "Calibration of float.onnx" in text
    assert "methods: equalize" in text
    assert "of 20 samples held back" in text
    assert Reader(text).seen.count("details") == 4
    with pytest.raises(OutputError, match="exists"):
        edgeq.calibrate(network, "digits", tmp_path / "other.onnx", explain=page)
