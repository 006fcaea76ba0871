"""What `edgeq train --check` says of a graph network, against what its exporters do."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from tests.support.models.graphs import two_rings

from edgeq.deploy.cli import run
from edgeq.deploy.scheme_check.check import TargetCheck, check_lowered
from edgeq.deploy.scheme_check.graph import lower_untrained_graph
from edgeq.training.graph.recipe import GraphRecipe, GraphScheme

if TYPE_CHECKING:
    from edgeq.deploy.scheme_check.findings import Finding

STEPS = 32


def check(
    scheme: GraphScheme, *targets: str, model: str = "stable-pde-gcn-64"
) -> dict[str, TargetCheck]:
    lowered = lower_untrained_graph(GraphRecipe(model, "rings", scheme), two_rings())
    return {found.target: found for found in check_lowered(lowered, targets)}


def of(found: TargetCheck, kind: str) -> Finding:
    (one,) = [one for one in found.findings if one.kind == kind]
    return one


@pytest.fixture(scope="module")
def found() -> dict[str, TargetCheck]:
    return check(GraphScheme(4, 8, bound=0), "ort-cpu", "tflite-ref", "torch")


def test_each_kind_of_tensor_has_its_width_and_form(found: dict[str, TargetCheck]) -> None:
    for target, activation_dtype in (("ort-cpu", "uint8"), ("tflite-ref", "int8")):
        weights, activations = of(found[target], "weights"), of(found[target], "activations")
        assert (weights.count, weights.requirement, weights.stored) == (
            STEPS,
            "4 bits, learned-clip, one scale a tensor",
            "int8",
        )
        assert (activations.count, activations.requirement, activations.stored) == (
            2 * STEPS,
            "8 bits, learned-clip, zero in the middle",
            activation_dtype,
        )
        assert found[target].exact


def test_each_format_is_asked_about_the_form_that_it_can_hold(
    found: dict[str, TargetCheck],
) -> None:
    in_onnx, in_tflite = of(found["ort-cpu"], "float"), of(found["tflite-ref"], "float")
    assert in_onnx.count > in_tflite.count, (
        "rows that are picked and added up, and one product with a matrix"
    )
    assert (in_onnx.hint, in_tflite.hint) == ("", "export with --allow-float")


def test_products_run_in_integers_between_islands_but_not_within_one(
    found: dict[str, TargetCheck],
) -> None:
    assert {of(found["ort-cpu"], kind).runs for kind in ("weights", "activations")} == {"integer"}
    assert {of(found["tflite-ref"], kind).runs for kind in ("weights", "activations")} == {"float"}


def test_a_target_of_checkpoints_opens_none_of_a_graph(found: dict[str, TargetCheck]) -> None:
    assert not found["torch"].exact
    (refused,) = [one for one in found["torch"].findings if one.verdict == "refused"]
    assert "reads images" in refused.why


def test_the_released_quantiser_is_refused_by_its_kind() -> None:
    found = check(GraphScheme(32, 4, "released"), "ort-cpu")["ort-cpu"]
    (activations,) = found.findings
    assert (activations.kind, activations.verdict) == ("activations", "refused")
    assert "no level at zero" in activations.why


def test_operators_that_are_not_symmetric_are_twice_as_many() -> None:
    lowered = lower_untrained_graph(
        GraphRecipe("pde-gcn-64", "rings", GraphScheme(2, 8)), two_rings()
    )
    weights, _ = lowered.requirements
    assert len(weights.names) == 2 * STEPS
    assert weights.power_of_two, "two bits of the identity: steps of 1"


class TestCommand:
    @pytest.fixture(autouse=True)
    def _rings(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("edgeq.data.load_graph", lambda _name, _folder: two_rings())

    def test_the_document(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert (
            run(
                [
                    "train",
                    "stable-pde-gcn-64",
                    "--data",
                    "cora",
                    "--act-bits",
                    "4",
                    "--check",
                    "ort-cpu-ref",
                    "--json",
                ]
            )
            == 0
        )
        document: Any = json.loads(capsys.readouterr().out)
        (checked,) = document["targets"]
        assert [one["kind"] for one in checked["findings"]] == ["weights", "activations", "float"]

    def test_fp32_has_no_quantisation_to_ask_about(
        self, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert (
            run(["train", "stable-pde-gcn-64", "--data", "cora", "--fp32", "--check", "ort-cpu"])
            == 2
        )
        assert "FP32 training has none" in capsys.readouterr().err
