"""The page of what commands made, and the verdict on it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.support.report.making import calibrated, makers

from edgeq.deploy.report.findings import judge
from edgeq.deploy.report.sections.making import files, layers, training, trials

if TYPE_CHECKING:
    from edgeq.deploy.report.documents import Document


@pytest.fixture(scope="module")
def by_kind() -> dict[str, Document]:
    return {each.kind: each for each in makers()}


def test_a_calibration_shows_its_layers_the_most_costly_open() -> None:
    shown = layers.section([calibrated()])
    assert shown.count("<details open>") == 1
    assert shown.count('class="pair"') == 2
    assert "stem.conv: 30.0 dB; clipping" in shown
    assert "2 of 200 channels" in shown
    assert "∞" in shown, "null is what JSON has for equal tensors"
    assert "equalize: 3 pairs" in shown


def test_an_exported_file_shows_what_was_compared(by_kind: dict[str, Document]) -> None:
    shown = files.section([by_kind["export"]])
    assert "5,904" in shown
    assert shown.count("the nearest multiplier") == 2


def test_a_training_has_curves(by_kind: dict[str, Document]) -> None:
    shown = training.section([by_kind["train"]])
    assert shown.count("<figure") == 2
    assert "accuracy (%) 95.00 (95 % interval" in shown


def test_trials_are_told_by_their_widths(by_kind: dict[str, Document]) -> None:
    shown = trials.section([by_kind["search"]])
    assert "3 w4a8" in shown
    assert "1 (chosen)" in shown
    assert trials.precision({"weight_bits": 32, "act_bits": 32}) == "float"
    assert trials.precision({"weight_bits": 6, "act_bits": 8, "channel_bits": [2, 6]}) == "w2-6a8"
    swept = trials.section([by_kind["sweep"]])
    assert "failed: bits = 2: ArtefactError: no file" in swept
    assert "accuracy 0.91" in swept
    assert "rmse/1" not in swept, "families of figures are drawn"
    assert all(each in swept for each in ("2 bits are worse", "2 of 3", "1.5 times", "0.5 to 4.5"))


@pytest.mark.parametrize(
    ("kind", "state", "said"),
    [
        ("calibrate", "look", "3 of 6 stages answer otherwise"),
        ("export", "look", "1 of 2 files is not exact or in float"),
        ("train", "none", "resnet8 4W/8A: test accuracy (%) 95.00"),
        ("check", "look", "1 of 2 targets can hold the scheme exactly"),
        ("search", "bad", "the chosen one loses 0.80, more than 0.5"),
        ("sweep", "bad", "Bits: 1 of 2 cells failed"),
    ],
)
def test_each_has_a_verdict(by_kind: dict[str, Document], kind: str, state: str, said: str) -> None:
    found = judge([by_kind[kind]])
    told = "\n".join([found.headline, *found.sentences])
    assert said in told
    assert found.state == state
