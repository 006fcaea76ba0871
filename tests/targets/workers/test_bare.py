"""A runtime alone with a model: how it begins, its operators, its batches."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from tests.support.models import onnx_models, tflite_models

from edgeq.errors import TargetError
from edgeq.target import TARGETS, Startable
from edgeq.targets import ort, tflite
from edgeq.targets.workers import bare
from edgeq.targets.workers.engines.ort import WARM_UP, times_of
from edgeq.targets.workers.litert_profiler import AVERAGED, operator_times, rows_of
from edgeq.targets.workers.wire import Refused

if TYPE_CHECKING:
    from pathlib import Path


def test_onnx_runtime_alone(tmp_path: Path) -> None:
    path = onnx_models.save(onnx_models.float_model(batch="n"), tmp_path / "model.onnx")
    with ort.cpu.alone(path, batch=2) as runtime:
        shape = (2, *onnx_models.images(1).shape[1:])
        runtime.set([np.ones(shape, np.float32)])
        runtime.invoke()
        assert runtime.start_up.load_ms > 0
        assert runtime.start_up.first_ms > 0
        assert (runtime.start_up.peak_bytes or 1) > 0
        runs = runtime.invoke_ns(0)
        assert len(runs.took_ns) == 1
        assert runs.processor_ns is not None
        operators = runtime.operators()
    assert operators
    assert all(one.ms >= 0 and one.kind and one.place == "CPU" for one in operators)


def test_litert_alone_by_its_own_profiler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bare, "_OPERATOR_RUNS", 2 * AVERAGED)
    path = tmp_path / "model.tflite"
    path.write_bytes(tflite_models.int8_model(ours=True))
    with tflite.xnnpack.alone(path) as runtime:
        runtime.set([np.zeros((1, 8, 8, 3), np.int8)])
        operators = runtime.operators()
    with pytest.raises(Refused, match="does not run its reference"):
        operator_times(b"", ("reference", 1), [], [], [], 1)
    assert any("Convolution" in one.kind and one.place == "XNNPACK" for one in operators)


def test_a_batch_that_a_model_does_not_take_is_refused(tmp_path: Path) -> None:
    path = onnx_models.save(onnx_models.float_model(), tmp_path / "model.onnx")
    with pytest.raises(TargetError, match="its batch is fixed at 1"):
        ort.cpu.alone(path, batch=2)


def test_what_runs_in_edgeq_s_own_process_cannot_be_looked_at_alone() -> None:
    assert not isinstance(TARGETS.load("emulator"), Startable)
    assert isinstance(TARGETS.load("openvino"), Startable)


def test_events_of_onnx_runtime_s_profile_are_medians_without_the_warm_up() -> None:
    def event(name: str, us: float) -> dict[str, Any]:
        arguments = {"op_name": "Conv", "provider": "CPUExecutionProvider"}
        return {"cat": "Node", "name": f"{name}_kernel_time", "dur": us, "args": arguments}

    slow = [event("first", 9e6)] * WARM_UP
    events: list[dict[str, Any]] = [
        {"cat": "Session", "name": "load"},
        *slow,
        event("first", 4),
        event("first", 2),
    ]
    assert times_of([*events, event("first", 3)]) == [
        {"name": "first", "kind": "Conv", "provider": "CPU", "ms": 0.003}
    ]


def test_rows_of_litert_s_summary() -> None:
    text = """
========== Run Order ==========
     [node type]  [start]  [first]  [avg ms]  [%]  [cdf%]  [mem KB]  [times called]  [Name]
 Delegate/Convolution (NHWC, QC8) IGEMM  0.0  0.046  0.481  57.700%  57.7%  0.0  20  [Delegate]:0
                AVERAGE_POOL_2D  0.000  0.006  0.003  0.360%  99.706%  0.000  20  [Builtin]:12

========== Top by Computation Time ==========
 AVERAGE_POOL_2D  0.000  0.006  0.003  0.360%  99.706%  0.000  20  [Builtin]:12
"""
    assert rows_of(text) == [
        ("Delegate/Convolution (NHWC, QC8) IGEMM", "[Delegate]:0", 0.481),
        ("AVERAGE_POOL_2D", "[Builtin]:12", 0.003),
    ]
