"""GPU providers: where each node ran is read from a real profile, and nothing may run elsewhere.

No GPU takes part.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import onnxruntime as ort
import pytest
from tests.support.models import onnx_models

from edgeq.errors import TargetError
from edgeq.targets import ort_gpu
from edgeq.targets.plans.onnx import marked
from edgeq.targets.plans.ort_gpu import plan_of
from edgeq.targets.workers.engines.ort_gpu import placed, refuse_others, told
from edgeq.targets.workers.provisioning import environments
from edgeq.targets.workers.wire import Refused

if TYPE_CHECKING:
    import onnx

CPU, CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"


def profiled(model: onnx.ModelProto, folder: Path, *, optimize: bool) -> list[dict[str, str]]:
    """The layers of a run on the CPU provider, from the profile that ONNX Runtime wrote."""
    options = ort.SessionOptions()
    options.enable_profiling, options.profile_file_prefix = True, str(folder / "profile")
    level = ort.GraphOptimizationLevel
    options.graph_optimization_level = level.ORT_ENABLE_ALL if optimize else level.ORT_DISABLE_ALL
    session = ort.InferenceSession(marked(model).SerializeToString(), options, providers=[CPU])
    input_info = session.get_inputs()[0]
    session.run(None, {input_info.name: np.zeros([1, *input_info.shape[1:]], np.float32)})
    return placed(json.loads(Path(session.end_profiling()).read_text()))


def test_every_node_is_found_in_a_real_profile(tmp_path: Path) -> None:
    model = onnx_models.qdq_model()
    layers = profiled(model, tmp_path, optimize=False)
    assert [layer["kind"] for layer in layers].count("Conv") == sum(
        node.op_type == "Conv" for node in model.graph.node
    )
    assert {layer["provider"] for layer in layers} == {CPU}


def test_convolutions_widened_to_float_are_named(tmp_path: Path) -> None:
    wide, fused = (
        profiled(onnx_models.qdq_model(), tmp_path, optimize=optimize) for optimize in (False, True)
    )
    assert "Conv" in told(wide)["computed_in_float"]
    assert "Conv" not in told(fused)["computed_in_float"]  # its last layer is in float in any case
    assert "QLinearConv in uint8" in told(fused)["operators"]


def test_the_plan_tells_integers_from_float(tmp_path: Path) -> None:
    model = onnx_models.qdq_model()
    for optimize, wanted in ((False, "float"), (True, "integer")):
        plan = plan_of(model, profiled(model, tmp_path, optimize=optimize))
        found = {op.arithmetic for op in plan.ops if op.op_type == "Conv"}
        assert found == {wanted}
        assert all(op.why for op in plan.ops if op.arithmetic == "float")


def test_a_float_model_is_not_said_to_be_widened(tmp_path: Path) -> None:
    assert "computed_in_float" not in told(
        profiled(onnx_models.float_model(), tmp_path, optimize=True)
    )


def test_a_node_that_ran_elsewhere_is_refused(tmp_path: Path) -> None:
    layers = profiled(onnx_models.qdq_model(), tmp_path, optimize=False)
    refuse_others(layers, CPU)
    moved = [{**layer, "provider": CUDA} if layer["kind"] == "Conv" else layer for layer in layers]
    with pytest.raises(Refused, match=f"{CUDA} left to others: .*QuantizeLinear"):
        refuse_others(moved, CUDA)


def test_copies_to_the_gpu_are_no_fallback() -> None:
    layers = [
        {"made_from": "a", "kind": "MemcpyFromHost", "provider": CPU, "type": "float"},
        {"made_from": "b", "kind": "Conv", "provider": CUDA, "type": "float"},
    ]
    refuse_others(layers, CUDA)


def test_a_profile_without_nodes_proves_nothing() -> None:
    with pytest.raises(Refused, match="nothing tells"):
        refuse_others(placed([{"cat": "Session", "name": "model_loading"}]), CUDA)


def test_a_machine_without_a_gpu_is_told_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ort_gpu, "DRIVERS", (tmp_path / "none",))
    monkeypatch.setattr(environments, "python_of", lambda _requirements: tmp_path / "python")
    found = ort_gpu.cuda.probe()
    assert not found.usable
    assert "no NVIDIA GPU" in found.why_not
    with pytest.raises(TargetError, match="no NVIDIA GPU"):
        ort_gpu.cuda.open(onnx_models.save(onnx_models.qdq_model(), tmp_path / "m.onnx"))


@pytest.mark.skipif(
    environments.python_of(ort_gpu.cuda.requirements) is None,
    reason="edgeq targets setup ort-cuda makes it",
)
@pytest.mark.skipif(any(path.exists() for path in ort_gpu.DRIVERS), reason="there is a GPU here")
@pytest.mark.parametrize("target", [ort_gpu.cuda, ort_gpu.tensorrt], ids=lambda target: target.name)
def test_the_real_package_without_a_gpu_falls_back_to_nothing(
    target: ort_gpu.GpuTarget, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ort_gpu, "DRIVERS", (tmp_path,))  # pretend that there is one
    with pytest.raises(
        TargetError, match=r"fallback to CPU EP has been explicitly disabled|install TensorRT"
    ):
        target.open(onnx_models.save(onnx_models.qdq_model(), tmp_path / "m.onnx"))
