"""Files of other tools in a process of their own: the same answers, and no crash gets out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import pytest
from tests.support.models import onnx_models, tflite_models

from edgeq.errors import ArtefactError, TargetError
from edgeq.quant import QuantizedTensor
from edgeq.targets import ort, tflite
from edgeq.targets.isolation import VARIABLE, apart, limits, opens_apart
from edgeq.targets.isolation.hosted import Hosted, HostedSession
from edgeq.targets.ort import OrtSession
from edgeq.targets.tflite import TfliteSession

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

CRASHING = "tests.targets.isolation.crashing"


@pytest.fixture(autouse=True)
def _asked_for(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.delenv(VARIABLE)
    with apart():
        yield


@pytest.fixture
def foreign(tmp_path: Path) -> Path:
    model = onnx_models.qdq_model()
    model.producer_name = "another tool"
    return onnx_models.save(model, tmp_path / "net.onnx")


def test_answers_tensors_and_plans_are_those_of_this_process(
    foreign: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor does ONNX Runtime keep an id of the machine, as it does where it reports its sessions."""
    (tmp_path / "home").mkdir()
    for name in ("CI", "ORT_DISABLE_TELEMETRY", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    images = onnx_models.images(3)
    with (
        ort.cpu_reference.open(foreign, intermediates=True) as other,
        OrtSession(ort._Engine(foreign, 1, optimize=False), intermediates=True) as here,
    ):
        assert isinstance(other, HostedSession)
        assert (other.inputs, other.outputs) == (here.inputs, here.outputs)
        assert np.array_equal(other.run(images), here.run(images))
        seen, wanted = other.tensors(images), here.tensors(images)
        assert list(seen) == list(wanted)
        for name, tensor in wanted.items():
            assert isinstance(tensor, QuantizedTensor) == isinstance(seen[name], QuantizedTensor)
            assert np.array_equal(_numbers(seen[name]), _numbers(tensor))
        summary = ort.cpu_reference.capabilities.summary
        assert other.facts["place"] == f"this machine for net.onnx ({summary})"
    assert list((tmp_path / "home").iterdir()) == []
    plan = ort.cpu_reference.plan(foreign)
    with apart(in_process=True):
        assert plan == ort.cpu_reference.plan(foreign)


def _numbers(tensor: Any) -> Any:
    return tensor.values if isinstance(tensor, QuantizedTensor) else tensor


def test_a_file_of_ours_and_a_call_of_a_target_start_no_process(
    foreign: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = onnx_models.qdq_model()
    model.producer_name = "edgeq"
    with ort.cpu.open(onnx_models.save(model, tmp_path / "own.onnx")) as session:
        assert isinstance(session, OrtSession)
    other = tmp_path / "other.tflite"
    other.write_bytes(tflite_models.int8_model())
    with apart(in_process=True):
        with ort.cpu.open(foreign) as session:
            assert isinstance(session, OrtSession)
        with tflite.reference.open(other) as lite:
            assert isinstance(lite, TfliteSession)
    monkeypatch.setenv(VARIABLE, "1")
    with apart(in_process=False):
        assert not opens_apart(by_default=True)


@pytest.mark.parametrize(
    ("what", "told"),
    [
        ("crash", "was killed by SIGSEGV"),
        ("hang", "did not answer within"),
        ("memory", "ran out of memory"),
    ],
)
def test_what_ends_the_process_is_an_error_that_names_the_file_and_the_target(
    foreign: Path, monkeypatch: pytest.MonkeyPatch, what: str, told: str
) -> None:
    if what == "hang":
        monkeypatch.setattr("edgeq.targets.isolation._OPEN_SECONDS", 2.0)
    hosted = Hosted(f"{CRASHING}:{what}", "this machine for net.onnx (a target)")
    with pytest.raises(TargetError, match=told) as error:
        hosted.open(foreign, 1)
    assert "this machine for net.onnx (a target)" in error.value.what


def test_a_broken_file_is_told_as_one(tmp_path: Path) -> None:
    model = onnx_models.float_model()
    model.producer_name = "another tool"
    model.graph.node[0].op_type = "NoSuchOperator"
    path = tmp_path / "broken.onnx"
    path.write_bytes(model.SerializeToString())
    with pytest.raises(ArtefactError, match=r"broken.onnx.*NoSuchOperator"):
        ort.cpu.open(path)


def test_what_a_process_refuses_keeps_its_own_hint(tmp_path: Path) -> None:
    model = onnx_models.float_model()
    model.producer_name = "another tool"
    text = onnx.helper.make_tensor_value_info("text", onnx.TensorProto.STRING, [1])
    model.graph.input.append(text)
    model.graph.node.append(onnx.helper.make_node("Identity", ["text"], ["copy"]))
    model.graph.output.append(onnx.helper.make_tensor_value_info("copy", 8, [1]))
    path = tmp_path / "text.onnx"
    path.write_bytes(model.SerializeToString())
    with pytest.raises(ArtefactError, match=r"the input 'text' is a tensor\(string\)") as error:
        ort.cpu.open(path)
    assert "hint" not in error.value.what
    assert error.value.hint.startswith("export with a float input")


def test_the_memory_of_such_a_process_is_bounded() -> None:
    assert (limits().memory_bytes or 0) >= 4 * 2**30
