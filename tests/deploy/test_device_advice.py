"""What is chosen for a device: it is said with its source, it exports, and flags go before it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from tests.support.models.onnx_models import four_layers

import edgeq
from edgeq.calibration.config import CalibrationConfig
from edgeq.deploy.cli import run
from edgeq.deploy.device_advice import afterwards, choices, suited
from edgeq.errors import UsageError
from edgeq.network.layer_rules import LayerRule
from edgeq.targets.devices import find, names

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return four_layers(tmp_path_factory.mktemp("float") / "float.onnx")


def scales(path: Path, layer: str) -> NDArray[np.generic]:
    """The scale of a layer's weights."""
    constants = {each.name: each for each in onnx.load(path).graph.initializer}
    return numpy_helper.to_array(constants[f"{layer}.weight_scale"])


@pytest.mark.parametrize("name", names())
def test_what_is_chosen_exports(
    name: str, network: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    device, made = find(name), tmp_path / "made.onnx"
    asked = ["--data", "digits", "--samples", "32", "--device", name, "-o", str(made)]
    assert run(["calibrate", str(network), *asked]) == 0
    said, shown = (captured := capsys.readouterr()).err, captured.out
    assert f"{device.granularity} weights" in said
    assert device.facts[0].source in said
    assert (scales(made, "pointwise").size > 1) == (device.granularity == "per-channel")
    suffix = device.format
    edgeq.export(made, path=tmp_path / f"out.{suffix}")
    assert (tmp_path / f"out.{suffix}").exists()
    next_command = f"next: edgeq export {made} {'--to tflite' if suffix == 'tflite' else '--for'}"
    assert shown.splitlines()[-1].startswith(next_command)


def test_flags_go_before_it(network: Path, tmp_path: Path, answer: Callable[..., Any]) -> None:
    made = tmp_path / "made.onnx"
    asked = ("calibrate", network, "--data", "digits", "--samples", 16, "-o", made)
    found = answer(*asked, "--device", "stm32mp25", "--per-channel", "--pair-safe")
    assert (found["per_channel"], found["pair_safe"]) == (True, True)
    assert found["device"]["name"] == "stm32mp25"
    assert scales(made, "pointwise").size > 1


def test_what_gains_nothing_or_stays_in_float_is_said(tmp_path: Path) -> None:
    device = find("x86-avx2")
    narrow = suited(CalibrationConfig(weight_bits=4), device)
    assert any("weights of 4 bits are stored in 8" in line for line in choices(narrow, device))
    against = suited(CalibrationConfig(), device, pair_safe=False)
    assert any("against the advice" in line for line in choices(against, device))
    path = tmp_path / "up.onnx"
    node = onnx.helper.make_node("ConvTranspose", ["x", "w"], ["y"], "up")
    kernel = numpy_helper.from_array(np.ones((1, 1, 2, 2), np.float32), "w")
    values = [
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1, 1, size, size])
        for name, size in (("x", 2), ("y", 3))
    ]
    graph = onnx.helper.make_graph([node], "up", values[:1], values[1:], [kernel])
    onnx.save(onnx.helper.make_model(graph, ir_version=10), path)
    assert "1 operator stays in float there (ConvTranspose)" in next(afterwards(path, device))


def test_activations_that_a_device_computes_in_float_are_refused() -> None:
    with pytest.raises(UsageError, match="choose 8 with --act-bits"):
        suited(CalibrationConfig(act_bits=16), find("x86-avx2"))
    with pytest.raises(UsageError, match="choose 8 with --boundary-bits"):
        suited(CalibrationConfig(boundary_bits=16), find("x86-avx2"))
    rules = (LayerRule("head*", act_bits=16),)
    with pytest.raises(UsageError, match=r"choose 8 with --layer head\*"):
        suited(CalibrationConfig(layers=rules), find("x86-avx2"))
    assert suited(CalibrationConfig(act_bits=16), find("ethos-u55")).act_bits == 16


def test_profile_says_what_is_slow_there(
    network: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = tmp_path / "made.onnx"
    edgeq.calibrate(network, "digits", made, samples=16)
    known = ["--target", "ort-cpu-ref", "--seconds", "0.01"]
    assert run(["profile", str(made), "--device", "stm32mp25", *known]) == 0
    said = capsys.readouterr().err
    assert "no target stands for ST STM32MP25" in said
    assert "6.4 times slower" in said
    edgeq.calibrate(network, "digits", made, samples=16, device="stm32mp25", overwrite=True)
    assert run(["profile", str(made), "--device", "stm32mp25", *known]) == 0
    assert "times slower" not in capsys.readouterr().err


def test_devices_are_listed(
    capsys: pytest.CaptureFixture[str], answer: Callable[..., Any], refusal: Callable[..., str]
) -> None:
    assert run(["targets", "devices"]) == 0
    listed = capsys.readouterr().out
    assert all(name in listed for name in names())
    assert run(["targets", "devices", "stm32mp25"]) == 0
    assert "11.92 ms" in capsys.readouterr().out
    assert len(answer("targets", "devices")["devices"]) == len(names())
    assert "did you mean 'vim3'" in refusal("targets", "devices", "vim")
