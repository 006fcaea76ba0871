"""Which stage is judged by which, on targets without a runtime."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from tests.support.runtimes import fake_targets

from edgeq.deploy.evaluation.chain import Pair
from edgeq.deploy.why.stages import judged, with_reference

if TYPE_CHECKING:
    from pathlib import Path

    Fakes = dict[str, fake_targets.FakeTarget]


@pytest.fixture
def onnx(tmp_path: Path) -> Path:
    return fake_targets.artefact(tmp_path, "onnx")


def test_the_first_quantised_file_also_runs_on_its_reference(fakes: Fakes, onnx: Path) -> None:
    fakes["ort-cpu-ref"].capabilities = replace(fakes["ort-cpu-ref"].capabilities, reference=True)
    asked = [Pair(onnx, "ort-cpu")]
    reference = Pair(onnx, "ort-cpu-ref")
    assert with_reference(asked, {asked[0]: True}) == [reference, *asked]
    assert with_reference([reference], {reference: True}) == [reference]
    assert with_reference(asked, {asked[0]: False}) == asked


def test_each_is_judged_by_one_that_is_right(fakes: Fakes, onnx: Path, tmp_path: Path) -> None:
    fakes["ort-cpu-ref"].capabilities = replace(fakes["ort-cpu-ref"].capabilities, reference=True)
    checkpoint = fake_targets.artefact(tmp_path, "checkpoint")
    tflite = fake_targets.artefact(tmp_path, "tflite")
    real, reference = Pair(checkpoint, "torch-fp32"), Pair(onnx, "ort-cpu-ref")
    fast, converted = Pair(onnx, "ort-cpu"), Pair(tflite, "tflite-ref")
    pairs = [real, reference, fast, converted]
    found = judged(pairs, {pair: pair != real for pair in pairs})
    assert [each.against for each in found] == [None, real, reference, reference]
    assert [each.from_float for each in found] == [False, True, False, False]
