"""What is held against what, and which operators are blamed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edgeq.deploy.evaluation.chain import Pair
from edgeq.deploy.evaluation.profiling.speed_ups import (
    blame,
    require_pairs,
    require_speed_up,
    speed_ups,
)
from edgeq.errors import GateFailed, Inconclusive, UsageError
from edgeq.results import Profile
from edgeq.timing import Latency
from edgeq.timing.details import OperatorTime
from edgeq.timing.trust import Trust

HOLDS = Trust(clock=True, processor_time=True, ratios=True)
FLOAT = (OperatorTime("conv", "FusedConv", 1.0), OperatorTime("sum", "Add", 0.1))
INT8 = (
    OperatorTime("conv_q", "QLinearConv", 0.8),
    OperatorTime("in", "QuantizeLinear", 0.2),
    OperatorTime("out", "DequantizeLinear", 0.3),
    OperatorTime("sum_q", "QLinearAdd", 0.1),
)


def profile(
    artefact: str,
    target: str,
    ms: float,
    *,
    kind: str = "measured",
    processor: tuple[float, ...] = (),
    noise: float = 0.0,
) -> Profile:
    """A profile of so many ms a run, in 40 rounds."""
    random = np.random.default_rng(len(artefact))
    blocks = tuple((ms * np.exp(random.normal(0, noise, 40))).tolist()) if ms else ()
    latency = Latency(
        40, ms, ms, ms, ms, ms, ms, 0.0, 0.0, HOLDS, blocks, processor_blocks_ms=processor
    )
    return Profile(artefact, target, 1, 1, kind, latency, 100)


def test_the_first_on_the_same_target_is_the_base_or_else_the_first_of_all() -> None:
    found = speed_ups(
        [
            profile("a.onnx", "ort", 4.0),
            profile("b.onnx", "ort", 2.0),
            profile("a.tflite", "lite", 1.0),
            profile("b.tflite", "lite", 0.5),
        ]
    )
    told = [(one.artefact, one.base, one.base_target) for one in found]
    assert told == [
        ("b.onnx", "a.onnx", "ort"),
        ("a.tflite", "a.onnx", "ort"),
        ("b.tflite", "a.tflite", "lite"),
    ]
    assert [one.times.value for one in found] == pytest.approx([2.0, 4.0, 2.0])


def test_what_is_measured_simulated_and_estimated_is_never_held_against_each_other() -> None:
    board = profile("a", "board", 9.0, kind="simulated")
    found = speed_ups(
        [
            profile("a", "ort", 4.0),
            board,
            replace(board, target="other board"),
            replace(board, artefact="b"),
            profile("a", "npu", 1.0, kind="estimated"),
        ]
    )
    assert [(one.artefact, one.target, one.base_target) for one in found] == [
        ("b", "board", "board")
    ]


def test_operators_of_one_kind_are_held_together_however_runtimes_call_them() -> None:
    found = blame(INT8, FLOAT)
    assert [(one.kind, one.in_base, one.operators) for one in found] == [
        ("DequantizeLinear", False, ("out",)),
        ("QuantizeLinear", False, ("in",)),
    ]
    assert [one.more_ms for one in found] == pytest.approx([0.3, 0.2])
    assert blame((), FLOAT) == blame(INT8, ()) == ()


def test_a_file_that_is_slower_fails_and_names_the_operators() -> None:
    slow = replace(profile("int8.onnx", "ort", 1.4, noise=0.01), operators=INT8)
    base = replace(profile("float.onnx", "ort", 1.1, noise=0.01), operators=FLOAT)
    found = speed_ups([base, slow])
    with pytest.raises(GateFailed, match=r"int8.onnx on ort is 0\.7.* times as fast") as error:
        require_speed_up(found, 1.0, 1)
    assert "DequantizeLinear +0.3 ms, of which the other has none (out)" in error.value.hint
    require_speed_up(found, 0.7, 1)


def test_what_the_interval_leaves_open_is_no_verdict_but_processor_time_may_be() -> None:
    base = profile("a", "ort", 1.0, noise=0.3, processor=(1.0,) * 40)
    other = profile("other", "ort", 1.0, noise=0.3, processor=(0.9,) * 40)
    found = speed_ups([base, other])
    with pytest.raises(Inconclusive, match="leaves 1 open"):
        require_speed_up(found, 1.0, 2)
    require_speed_up(found, 1.0, 1)
    with pytest.raises(GateFailed, match="in processor time"):
        require_speed_up(speed_ups([other, base]), 1.0, 1)
    with pytest.raises(Inconclusive, match="too few rounds"):
        require_speed_up((), 1.0, 1)


def test_a_speed_up_needs_two_files_on_one_target() -> None:
    a, b = Path("a.onnx"), Path("b.tflite")
    with pytest.raises(UsageError, match="no two files run on one target"):
        require_pairs([Pair(a, "ort"), Pair(b, "lite")])
    require_pairs([Pair(a, "ort"), Pair(b, "ort")])
