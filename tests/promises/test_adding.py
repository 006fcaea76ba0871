"""What a package registers as CONTRIBUTING says is found where it should be."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from torch import nn

import edgeq
from edgeq import registry
from edgeq.deploy.cli import run
from edgeq.deploy.evaluation.chain import chain
from edgeq.deploy.evaluation.compare import compare
from edgeq.deploy.inputs import load_data
from edgeq.deploy.report.documents import Document
from edgeq.deploy.report.page import render
from edgeq.plain import record
from edgeq.training.quantizers import catalogue
from edgeq.training.quantizers.catalogue import Method

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

PACKAGE = '''
import dataclasses

from edgeq.calibration.weight_methods.symmetric import Symmetric
from edgeq.data import load
from edgeq.data.dataset import Dataset
from edgeq.target import TARGETS, Availability, Capabilities


class Hundred:
    """From -100 to 100, whatever is seen."""

    def update(self, batch):
        pass

    def range(self, bits):
        return -100.0, 100.0


class Ones(Symmetric):
    """Every weight is one step."""

    def quantize(self, layer, scale):
        made = super().quantize(layer, scale)
        return dataclasses.replace(made, values=made.values * 0 + 1)


ones = Ones()


class Zero:
    """Every weight is zero."""

    stage = "integers"

    def apply(self, layers):
        for layer in layers:
            layer.set_integers(layer.integers * 0)
        return "done"


class Shift:
    """The mean error."""

    heading = "shift"
    tables = frozenset(("hops", "tensors", "survey", "report"))
    format = "+.2f"

    def __init__(self):
        self.sum, self.count = 0.0, 0

    def update(self, pair):
        self.sum += pair.error.sum()
        self.count += pair.error.size

    def result(self):
        return self.sum / self.count


class Runtime:
    """What ort-cpu-ref computes."""

    capabilities = Capabilities(
        formats=frozenset(("onnx",)), storage_dtypes=frozenset(("uint8", "int8")),
        per_channel=True, intermediates=False, latency="measured", summary="a runtime of one's own",
    )

    def probe(self):
        return Availability(usable=True)

    def open(self, artefact, *, threads=1, intermediates=False):
        return TARGETS.load("ort-cpu-ref").open(artefact, threads=threads)


runtime = Runtime()


def read(_paths):
    return dataclasses.replace(load("digits"), name="own-digits")


digits = Dataset("own-digits", "digits of one's own", 10, (1, 8, 8), read)


def for_weight(bits, weight, *, axis, normalized):
    """A quantiser of training."""
    from edgeq.training.quantizers.max_abs import MaxAbs

    class OwnQuantizer(MaxAbs):
        pass

    return OwnQuantizer(bits, axis=axis)
'''
ENTRY_POINTS = """
[edgeq.observers]
hundred = own_plugins:Hundred

[edgeq.weight_methods]
ones = own_plugins:ones

[edgeq.ptq_methods]
zero = own_plugins:Zero

[edgeq.metrics]
shift = own_plugins:Shift

[edgeq.targets]
own = own_plugins:runtime

[edgeq.datasets]
own-digits = own_plugins:digits
"""


@pytest.fixture(autouse=True)
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A package that somebody else wrote, installed."""
    folder = tmp_path / "site"
    metadata = folder / "own_plugins-1.0.dist-info"
    metadata.mkdir(parents=True)
    (folder / "own_plugins.py").write_text(PACKAGE)
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: own-plugins\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(ENTRY_POINTS)
    monkeypatch.syspath_prepend(folder)
    registry.installed.cache_clear()
    yield
    registry.installed.cache_clear()


@pytest.fixture
def network(tmp_path: Path) -> Path:
    """A float network for the embedded digits."""
    rng = np.random.default_rng(0)
    constants = [
        numpy_helper.from_array(rng.normal(size=shape).astype(np.float32), name)
        for name, shape in (("conv.weight", (4, 1, 3, 3)), ("fc.weight", (10, 4)))
    ]
    graph = helper.make_graph(
        [
            helper.make_node("Conv", ["x", "conv.weight"], ["c"]),
            helper.make_node("Relu", ["c"], ["r"]),
            helper.make_node("GlobalAveragePool", ["r"], ["p"]),
            helper.make_node("Flatten", ["p"], ["f"]),
            helper.make_node("Gemm", ["f", "fc.weight"], ["y"], transB=1),
        ],
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 1, 8, 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 10])],
        constants,
    )
    path = tmp_path / "net.onnx"
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10), path
    )
    return path


@pytest.fixture
def document(capsys: pytest.CaptureFixture[str]) -> Callable[..., Any]:
    """Runs a command with ``--json`` and gives what it prints."""

    def ask(*arguments: object) -> Any:
        assert run([*map(str, arguments), "--json"]) == 0, capsys.readouterr().err
        return json.loads(capsys.readouterr().out)

    return ask


def test_an_observer_and_a_weight_method(
    network: Path, document: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["calibrate", "--list-methods"]) == 0
    listed = capsys.readouterr().out
    assert "From -100 to 100, whatever is seen." in listed
    assert "Every weight is one step." in listed
    made = network.with_name("made.onnx")
    methods = ("--observer", "hundred", "--weight-method", "ones")
    document("calibrate", network, "--data", "digits", "--samples", 8, "-o", made, *methods)
    model = onnx.load(made)
    constants = {each.name: numpy_helper.to_array(each) for each in model.graph.initializer}
    assert constants["x_scale"] == np.float32(200 / 255)
    assert (constants["conv.weight_quantized"] == 1).all()
    assert {entry.key: entry.value for entry in model.metadata_props}["scheme"] == (
        "8W/8A integer, ones weights"
    )


def test_a_ptq_method(network: Path, document: Callable[..., Any]) -> None:
    made = network.with_name("made.onnx")
    command = ["calibrate", network, "--data", "digits", "--samples", 8, "-o", made]
    assert document(*command, "--method", "zero")["methods"] == ["zero"]
    constants = {
        each.name: numpy_helper.to_array(each) for each in onnx.load(made).graph.initializer
    }
    assert not constants["conv.weight_quantized"].any()
    assert not constants["fc.weight_quantized"].any()


def test_a_metric(
    network: Path,
    document: Callable[..., Any],
    capsys: pytest.CaptureFixture[str],
) -> None:
    made = network.with_name("made.onnx")
    document("calibrate", network, "--data", "digits", "--samples", 8, "-o", made)
    command = ["compare", network, made, "--data", "digits", "--limit", 4, "--target", "ort-cpu"]
    (hop,) = document(*command)["comparison"]["hops"]
    assert {"mse", "rmse", "sqnr_db", "max_abs", "shift"} < hop["output"].keys()
    assert run([*map(str, command)]) == 0
    assert f"{hop['output']['shift']:+.2f}" in capsys.readouterr().out
    survey = ["survey", made, "--data", "digits", "--limit", 4, "--seconds", 0]
    survey += ["--target", "ort-cpu,ort-cpu-ref", "--against", "ort-cpu-ref"]
    rows = document(*survey)["survey"]["rows"]
    assert [row["shift"] for row in rows if "shift" in row] == [0.0]
    assert run([*map(str, survey)]) == 0
    assert "shift" in capsys.readouterr().out
    source = load_data("digits", None)
    found = compare(chain([network, made], ["ort-cpu"]), source, limit=4).comparison
    page = render([Document("compare", "own", {"comparison": record(found)})], "own")
    assert '<th scope="col">shift</th>' in page


def test_a_target_and_a_data_set(network: Path, document: Callable[..., Any]) -> None:
    (row,) = document("targets", "own")["targets"]
    assert (row["usable"], row["summary"]) == (True, "a runtime of one's own")
    command = ["compare", network, "--data", "own-digits", "--limit", 4, "--no-tensors"]
    found = document(*command, "--target", "own,ort-cpu-ref")["comparison"]
    assert found["data"] == "own-digits"
    assert {stage["target"] for stage in found["stages"]} == {"own", "ort-cpu-ref"}
    assert found["hops"][0]["output"]["mse"] == 0.0


def test_a_quantiser_of_training(monkeypatch: pytest.MonkeyPatch) -> None:
    own = Method("own", "weights", "of one's own", "nobody", "own_plugins:for_weight")
    monkeypatch.setattr(catalogue, "METHODS", (*catalogue.METHODS, own))
    network = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 10))
    quantized = edgeq.quantize(network, edgeq.Scheme(8, 8, weights="own", per_channel=False))
    kinds = {type(module).__name__ for module in quantized.modules()}
    assert "OwnQuantizer" in kinds
