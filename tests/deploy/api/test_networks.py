"""``--model module:function`` where artefacts are run: anybody's network beside its files."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

import pytest
import torch

import edgeq
from edgeq.deploy.api.networks import as_files
from edgeq.errors import UsageError
from edgeq.factories import call
from edgeq.training.checkpoint import load_model

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

CODE = """
import torch
import edgeq

def plain():
    torch.manual_seed(0)
    layers = torch.nn.Conv2d(1, 4, 3), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(144, 10)
    return torch.nn.Sequential(*layers)

def trained():
    model = edgeq.quantize(plain(), edgeq.Scheme(), torch.zeros(1, 1, 8, 8))
    torch.manual_seed(1)
    model.train()(torch.randn(8, 1, 8, 8))
    return model.eval()

def nothing():
    return 3
"""


@pytest.fixture
def nets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A module of somebody's, in the current folder, and the file that its network became."""
    (tmp_path / "somebodys_nets.py").write_text(CODE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    somebodys_nets = import_module("somebodys_nets")

    edgeq.export(somebodys_nets.trained(), torch.zeros(1, 1, 8, 8), tmp_path / "net.onnx")
    return somebodys_nets


@pytest.mark.usefixtures("nets")
def test_a_quantised_network_equals_its_file_tensor_by_tensor(answer: Callable[..., Any]) -> None:
    flags = ("--data", "digits", "--limit", 16, "--target", "torch,ort-cpu-ref")
    found = answer("compare", "net.onnx", "--model", "somebodys_nets:trained", *flags)["comparison"]
    assert [stage["artefact"] for stage in found["stages"]] == [
        "somebodys_nets:trained.safetensors",
        "net.onnx",
    ]
    assert found["hops"][0]["output"]["max_abs"] == 0
    assert {drift["max_lsb"] for drift in found["hops"][0]["tensors"]} == {0}


@pytest.mark.usefixtures("nets")
def test_a_float_network_is_calibrated_and_timed(
    answer: Callable[..., Any], refusal: Callable[..., str]
) -> None:
    made = ("--data", "digits", "-o", "float.onnx", "--samples", 16)
    done = answer("calibrate", "--model", "somebodys_nets:plain", *made)
    assert done["samples"] == 16
    own = ("--model", "somebodys_nets:plain", "--target", "torch", "--seconds", 0.02)
    message = refusal("profile", "net.onnx", *own, "--target", "ort-cpu")
    assert "give --data" in message
    timed = answer("profile", "net.onnx", *own, "--target", "ort-cpu", "--data", "digits")
    assert {each["target"] for each in timed["profiles"]} == {"torch", "ort-cpu"}


@pytest.mark.usefixtures("nets")
def test_a_network_is_exported_as_its_owner_trained_it(
    answer: Callable[..., Any], refusal: Callable[..., str], tmp_path: Path
) -> None:
    own = ("--model", "somebodys_nets:trained", "-o", "out")
    assert "give --verify" in refusal("export", *own)
    written = answer("export", *own, "--verify", "digits", "--limit", 8)["files"]
    assert [each["path"] for each in written] == ["out/trained.onnx", "out/trained.tflite"]
    assert all(each["parity"]["different"] == [] for each in written)
    assert edgeq.diff(tmp_path / "net.onnx", tmp_path / "out" / "trained.onnx").equal


@pytest.mark.usefixtures("nets")
def test_what_is_no_network_is_refused(refusal: Callable[..., str]) -> None:
    made = ("--data", "digits", "-o", "again.onnx")
    assert "no network is named" in refusal("calibrate", *made)
    assert "no torch.nn.Module" in refusal("calibrate", "--model", "somebodys_nets:nothing", *made)
    both = refusal("calibrate", "net.onnx", "--model", "somebodys_nets:plain", *made)
    assert "two networks are named" in both
    assert "there is no module" in refusal("calibrate", "--model", "no_nets:plain", *made)


def test_a_networks_file_is_of_no_use_afterwards(nets: Any) -> None:
    source = edgeq.load_data("digits")
    with as_files([nets.trained()], source) as (path,):
        kept = path.read_bytes()
        loaded = load_model(path)
        assert loaded.quantized
        assert loaded.input_shape == (1, 8, 8)
        reference = loaded.metadata["model"]
    assert not path.exists()
    path.parent.mkdir()
    path.write_bytes(kept)
    with pytest.raises(UsageError, match="code of somebody's own"):
        load_model(path)
    with pytest.raises(UsageError):
        call(reference, flag="--model")
