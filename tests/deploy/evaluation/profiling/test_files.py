"""What other programs read of a profile."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace

import pytest

from edgeq.deploy.evaluation.profiling.files import CSV_COLUMNS, as_benchmark, as_csv, as_trace
from edgeq.deploy.evaluation.profiling.speed_ups import speed_ups
from edgeq.errors import UsageError
from edgeq.machine import fingerprint
from edgeq.results import Profile
from edgeq.timing import Latency
from edgeq.timing.details import OperatorTime, StartUp
from edgeq.timing.trust import Trust

SHARED = Trust(clock=False, processor_time=True, ratios=True, why="busy", advice="wait")
LATENCY = Latency(40, 2.0, 2.1, 2.2, 2.3, 2.0, 1.9, 0.1, 0.0, SHARED, (2.0,) * 30, (1.5,) * 30)
ONE = Profile("a.onnx", "ort-cpu", 1, 1, "measured", LATENCY, 100, start_up=StartUp(5, 3, 2000))
OPERATORS = (OperatorTime("conv", "Conv", 1.5, "CPU"), OperatorTime("relu", "Relu", 0.5, "CPU"))
PROFILES = (
    replace(ONE, operators=OPERATORS),
    replace(ONE, artefact="b.onnx"),
    replace(ONE, target="board", kind="simulated"),
)


def test_a_trace_puts_operators_behind_each_other() -> None:
    events = json.loads(as_trace(PROFILES))["traceEvents"]
    assert events[0]["args"]["name"] == "a.onnx on ort-cpu (measured)"
    assert [(one["name"], one["ts"], one["dur"]) for one in events[1:]] == [
        ("conv", 0.0, 1500.0),
        ("relu", 1500.0, 500.0),
    ]
    assert {one["ph"] for one in events[1:]} == {"X"}


def test_without_operators_there_is_nothing_to_trace() -> None:
    with pytest.raises(UsageError, match="nothing can be traced: no profiler"):
        as_trace([replace(ONE, notes=("no profiler",))])


def test_csv_has_a_line_for_each_and_leaves_out_what_is_not_known() -> None:
    lines = list(csv.DictReader(io.StringIO(as_csv(PROFILES, speed_ups(PROFILES)))))
    assert tuple(lines[0]) == CSV_COLUMNS
    assert [line["base"] for line in lines] == ["", "a.onnx", ""]
    assert lines[1]["times_as_fast"] == "1.0"
    assert (lines[0]["trust"], lines[0]["advice"]) == ("ratios", "wait")
    assert (lines[0]["peak_bytes"], lines[0]["energy_mj"]) == ("2000", "")


def test_a_benchmark_holds_measured_figures_only() -> None:
    entries = json.loads(as_benchmark(PROFILES, fingerprint()))
    assert [(one["name"], one["unit"], one["value"]) for one in entries] == [
        ("a.onnx on ort-cpu, p50", "ms", 2.0),
        ("a.onnx on ort-cpu, processor time", "ms", 1.5),
        ("b.onnx on ort-cpu, p50", "ms", 2.0),
        ("b.onnx on ort-cpu, processor time", "ms", 1.5),
    ]
    assert all("trust: ratios; busy" in one["extra"] for one in entries)
