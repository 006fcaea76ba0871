"""A QOperator file through every command that reads a QDQ file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import onnx
import pytest
from tests.support.models.qoperator_models import quantized, residual

from edgeq.data import load, normalize

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Ask = Callable[..., Any]

pytestmark = pytest.mark.filterwarnings(
    "ignore::DeprecationWarning:onnxruntime", "ignore::UserWarning:onnxruntime"
)
MACS = [9216, 9216, 16384, 16384 * 9, 160]


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    digits = load("digits")
    net, output = residual()
    return quantized(
        tmp_path_factory.mktemp("qoperator"),
        net.model(output),
        normalize(digits.train.images[:64], digits),
    )


def test_it_is_exported_to_every_format_without_a_number_different(
    answer: Ask, network: Path, tmp_path: Path
) -> None:
    formats = [part for name in ("onnx", "tflite", "vectors") for part in ("--to", name)]
    found = answer(
        "export", network, *formats, "-o", tmp_path, "--name", "net", "--verify", "digits"
    )
    assert len(found["files"]) == 3
    for file in found["files"]:
        assert file["parity"]["different"] == []
    written = onnx.load(tmp_path / "net.onnx")
    assert {node.op_type for node in written.graph.node} == {
        "QuantizeLinear",
        "DequantizeLinear",
        "Conv",
        "Add",
        "GlobalAveragePool",
        "Flatten",
        "Gemm",
    }


def test_the_exported_file_gives_the_integers_of_the_source(
    answer: Ask, network: Path, tmp_path: Path
) -> None:
    answer("export", network, "--to", "onnx", "-o", tmp_path, "--name", "net")
    found = answer(
        "compare",
        network,
        tmp_path / "net.onnx",
        "-t",
        "ort-cpu-ref",
        "-t",
        "emulator",
        "--data",
        "digits",
        "--limit",
        "40",
    )
    hops = found["comparison"]["hops"]
    assert len(hops) == 3
    for hop in hops:
        assert hop["output"]["mse"] == 0
        assert len(hop["tensors"]) == 8
        assert all(set(tensor["lsb"]) == {"0"} for tensor in hop["tensors"])


@pytest.mark.parametrize("target", ["ort-cpu", "ort-cpu-ref", "emulator", "emulator:tflm"])
def test_its_multiplications_are_counted(answer: Ask, network: Path, target: str) -> None:
    found = answer("audit", network, "--target", target)["audit"]
    assert sorted(op["macs"] for op in found["ops"] if op["macs"]) == sorted(MACS)
    assert found["integer_share"] == (0.0 if target == "ort-cpu-ref" else 1.0)


def test_it_is_profiled_and_predicted(answer: Ask, network: Path) -> None:
    answer("profile", network, "--target", "ort-cpu", "--seconds", "0.1")
    found = answer("emulate", network, "--on", "avx2", "--data", "digits", "--limit", "20")[
        "emulation"
    ]
    layers = {layer["name"]: layer for layer in found["layers"]}
    assert [layer["macs"] for layer in found["layers"] if layer["macs"]] == [
        9216,
        16384 * 9,
        9216,
        16384,
        160,
    ]
    # the last layer and what dequantises it are called alike in the file
    assert len(layers) == len(found["layers"])
    assert (
        sum(layer["counts"]["sums"] for layer in layers.values() if layer["macs"])
        == found["counts"]["sums"]
        == 20 * (16 * 64 * 4 + 10)
    )


def test_it_is_calibrated_already(refusal: Ask, network: Path, tmp_path: Path) -> None:
    assert "is quantised already" in refusal(
        "calibrate", network, "--data", "digits", "-o", tmp_path / "x.onnx"
    )
