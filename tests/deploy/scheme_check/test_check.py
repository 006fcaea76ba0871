"""What `edgeq train --check` says of targets, against what exporters and runtimes do."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import nn

from edgeq.deploy.cli import run
from edgeq.deploy.scheme_check.check import TargetCheck, check_scheme, require, target_names
from edgeq.deploy.scheme_check.findings import Finding, brief
from edgeq.errors import GateFailed, TargetError, UnknownName, UsageError
from edgeq.network.layer_rules import LayerRule
from edgeq.training.qat_transform import quantize
from edgeq.training.quantizers.catalogue import find
from edgeq.training.recipes.scheme import Scheme

if TYPE_CHECKING:
    from pathlib import Path

SHAPE = (3, 9, 9)


def network(*, norm: bool = True) -> nn.Module:
    torch.manual_seed(0)

    def block(before: int, after: int) -> list[nn.Module]:
        return [nn.Conv2d(before, after, 3), *([nn.BatchNorm2d(after)] if norm else []), nn.ReLU()]

    return nn.Sequential(
        *block(3, 4), *block(4, 4), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 5)
    )


def check(scheme: Scheme, *targets: str, norm: bool = True) -> dict[str, TargetCheck]:
    return {
        found.target: found
        for found in check_scheme(quantize(network(norm=norm), scheme), SHAPE, targets)
    }


def of(found: TargetCheck, kind: str) -> list[Finding]:
    return [one for one in found.findings if one.kind == kind]


@pytest.fixture(scope="module")
def found() -> dict[str, TargetCheck]:
    return check(Scheme(4, 4), "ort-cpu", "ort-cpu-ref", "tflite-ref", "torch", "tensorrt")


def test_what_no_kernel_computes_in_integers_is_told_with_the_flag() -> None:
    model = quantize(
        nn.Sequential(nn.Conv2d(3, 4, 3), nn.LayerNorm([4, 7, 7]), nn.Flatten(), nn.Linear(196, 5)),
        Scheme(8, 8, norms="float"),
    )
    found = {one.target: one for one in check_scheme(model, SHAPE, ["tflite-ref", "ort-cpu"])}
    (kept,) = of(found["tflite-ref"], "float")
    assert (kept.verdict, kept.runs, kept.count, kept.hint) == (
        "exact",
        "float",
        1,
        "export with --allow-float",
    )
    assert not of(found["ort-cpu"], "float")
    assert any("LayerNormalization" in one.why for one in of(found["ort-cpu"], "activations"))


class TestIntegerScheme:
    def test_what_runs_in_integers_is_the_runtimes_own_answer(
        self, found: dict[str, TargetCheck]
    ) -> None:
        assert {one.runs for one in found["ort-cpu"].findings} == {"integer"}
        assert {one.runs for one in found["tflite-ref"].findings} == {"integer"}
        assert {one.runs for one in of(found["ort-cpu-ref"], "weights")} == {"float"}
        assert all(found[name].exact for name in ("ort-cpu", "ort-cpu-ref", "tflite-ref", "torch"))

    def test_each_kind_of_tensor_has_its_width_method_and_form(
        self, found: dict[str, TargetCheck]
    ) -> None:
        (weights,) = of(found["ort-cpu"], "weights")
        assert (weights.requirement, weights.count, weights.stored) == (
            "4 bits, max-abs, one scale a channel",
            1,
            "int8",
        )
        assert [one.requirement for one in of(found["ort-cpu"], "first and last")] == [
            "8 bits, max-abs, one scale a channel",
        ]
        narrow = {
            target: {one.stored for one in of(found[target], "activations")}
            for target in ("ort-cpu", "tflite-ref")
        }
        assert narrow["ort-cpu"] == {"uint8", "uint8, bounded by an integer Clip"}
        assert narrow["tflite-ref"] == {"int8", "int8, bounded by saturation"}

    def test_a_refusal_is_laid_to_what_it_names(self, found: dict[str, TargetCheck]) -> None:
        (refused,) = [one for one in found["tensorrt"].findings if one.verdict == "refused"]
        assert refused.kind == "activations"
        assert "int8 with zero point 0 only" in refused.why
        assert refused.hint

    def test_a_runtime_that_is_no_target_was_not_asked(self, found: dict[str, TargetCheck]) -> None:
        assert not found["tensorrt"].usable
        assert "runs none" in found["tensorrt"].why_not

    def test_a_target_of_checkpoints_runs_the_quantisers_themselves(
        self, found: dict[str, TargetCheck]
    ) -> None:
        assert all("the checkpoint itself" in one.why for one in found["torch"].findings)


class TestFloatIslands:
    def test_they_are_the_schemes_own_and_need_a_flag_in_tflite(self) -> None:
        found = check(Scheme(4, 4, placement="paper"), "ort-cpu", "tflite-ref")
        (in_onnx,), (in_tflite,) = (of(found[name], "float") for name in ("ort-cpu", "tflite-ref"))
        assert (in_onnx.verdict, in_onnx.runs, in_onnx.hint) == ("exact", "float", "")
        assert (in_tflite.verdict, in_tflite.hint) == ("exact", "export with --allow-float")
        assert all(checked.exact for checked in found.values())

    def test_an_integer_machine_refuses_them(self) -> None:
        found = check(Scheme(4, 4, first_last="float"), "emulator:dsp-po2")["emulator:dsp-po2"]
        assert any(
            one.verdict == "refused" and "no arithmetic" in one.why for one in found.findings
        )


class TestCapabilities:
    def test_a_machine_of_one_scale_cannot_hold_a_folded_norm(self) -> None:
        found = check(Scheme(4, 4), "emulator:dsp-po2")["emulator:dsp-po2"]
        (weights,) = of(found, "weights")
        assert weights.verdict == "approximated"
        assert "one scale a layer" in weights.why

    def test_a_machine_of_shifts_holds_powers_of_two_and_nothing_else(self) -> None:
        powers = Scheme(4, 4, weights="power-of-two", activations="power-of-two")
        assert check(powers, "emulator:dsp-po2", norm=False)["emulator:dsp-po2"].exact
        others = check(Scheme(4, 4, per_channel=False), "emulator:dsp-po2", norm=False)[
            "emulator:dsp-po2"
        ]
        assert {one.why for one in others.findings} == {"it multiplies by powers of two only"}
        assert "power-of-two" in others.findings[0].hint


class TestMethods:
    def test_one_without_an_integer_form_is_refused_everywhere_but_in_torch(self) -> None:
        found = check(Scheme(8, 4, activations="apot"), "ort-cpu", "tflite-ref", "torch")
        assert found["torch"].exact
        for name in ("ort-cpu", "tflite-ref"):
            (refused,) = [one for one in found[name].findings if one.verdict == "refused"]
            assert refused.requirement == "4 bits, apot, not negative"
            assert {one.verdict for one in found[name].findings if one is not refused} == {
                "unknown"
            }

    def test_rules_and_scales_are_told_apart(self) -> None:
        scheme = Scheme(
            4,
            4,
            per_channel=True,
            affine=True,
            layers=(LayerRule("3", weight_bits=3, weights="lsq"),),
        )
        found = check(scheme, "tflite-ref")["tflite-ref"]
        assert of(found, "weights")[0].requirement == "3 bits, lsq, one scale a channel"
        assert any(
            "zero where its range puts it" in one.requirement for one in of(found, "activations")
        )
        assert found.exact

    def test_what_a_method_needs_is_told(self) -> None:
        found = check(Scheme(1, 8, weights="xnor"), "ort-cpu")["ort-cpu"]
        (weights,) = of(found, "weights")
        assert weights.verdict == "exact"
        assert weights.why == f"as published it needs {find('weights', 'xnor').needs}"

    def test_the_weights_do_not_move(self) -> None:
        model = quantize(network(), Scheme(4, 4))
        weights = [
            parameter
            for name, parameter in model.named_parameters()
            if not name.startswith("quantizers.")
        ]
        before = [parameter.clone() for parameter in weights]
        check_scheme(model, SHAPE, ["ort-cpu"])
        assert all(torch.equal(one, other) for one, other in zip(before, weights, strict=True))


class TestNames:
    def test_repeated_and_with_commas_each_once(self) -> None:
        assert target_names(["ort-cpu,tflite", "tflite", "emulator:dsp-po2"]) == [
            "ort-cpu",
            "tflite",
            "emulator:dsp-po2",
        ]

    def test_an_unknown_one_is_told_with_what_is_near(self) -> None:
        with pytest.raises(UnknownName, match="tflight") as caught:
            target_names(["ort-cpu,tflight"])
        assert "tflite" in caught.value.hint

    def test_an_unknown_kind_is_refused(self) -> None:
        with pytest.raises(UsageError, match="dsp-po3"):
            check(Scheme(), "emulator:dsp-po3")


class TestRequire:
    def checked(self, verdict: Any, *, usable: bool = True) -> TargetCheck:
        return TargetCheck(
            "somewhere",
            usable,
            "" if usable else "it is not installed",
            "install it",
            (Finding("weights", "", 1, "", verdict),),
        )

    def test_what_can_be_held_passes(self) -> None:
        require([self.checked("exact")])

    @pytest.mark.parametrize("verdict", ["approximated", "refused"])
    def test_what_cannot_fails(self, verdict: str) -> None:
        with pytest.raises(GateFailed, match="somewhere cannot hold"):
            require(
                [self.checked("exact"), self.checked(verdict), self.checked("exact", usable=False)]
            )

    def test_what_could_not_be_asked_is_no_pass(self) -> None:
        with pytest.raises(TargetError, match="it is not installed"):
            require([self.checked("exact"), self.checked("exact", usable=False)])


def test_a_long_reason_is_cut_to_its_first_line() -> None:
    assert (
        brief("3 things stand in the way:\n  one\n  two")
        == "3 things stand in the way (and 2 more lines)"
    )
    assert brief("") == ""


class TestCommand:
    def test_the_document_and_nothing_trained(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.chdir(tmp_path)
        assert (
            run(
                [
                    "train",
                    "resnet8",
                    "--check",
                    "ort-cpu,tflite-ref",
                    "--weight-bits",
                    "4",
                    "--per-channel",
                    "--json",
                ]
            )
            == 0
        )
        document = json.loads(capsys.readouterr().out)
        assert [checked["target"] for checked in document["targets"]] == ["ort-cpu", "tflite-ref"]
        assert {one["runs"] for checked in document["targets"] for one in checked["findings"]} == {
            "integer"
        }
        assert list(tmp_path.iterdir()) == []

    def test_a_table_with_reason_and_hint(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert run(["train", "resnet8", "--check", "emulator:dsp-po2"]) == 1
        told = capsys.readouterr()
        assert "cannot hold it exactly" in told.out
        assert "--per-tensor" in told.out + told.err

    @pytest.mark.parametrize(
        ("arguments", "words"),
        [
            (["--check", "ort-cpu", "--fp32"], "FP32 training has none"),
            (["--check", "ort-cqu"], "did you mean 'ort-cpu'"),
            (["--epochs", "1"], "--output"),
            (
                ["--check", "ort-cpu", "--layer", "nothing.*=weight_bits:2"],
                "no layer is called 'nothing.*'",
            ),
            (["--check", "ort-cpu", "--weight-method", "lqs"], "did you mean 'lsq'"),
            (["--check", "ort-cpu", "--first-last", "none"], "choose boundary or inner or float"),
        ],
    )
    def test_what_cannot_be_asked(
        self, arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert run(["train", "resnet8", *arguments]) == 2
        assert words in " ".join(capsys.readouterr().err.split())

    def test_flags_stand_in_the_place_of_a_recipes(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        recipe = tmp_path / "recipe.toml"
        recipe.write_text(
            'model = "resnet8"\ndata = "digits"\n[scheme]\nper_channel = true\nfirst_last '
            '= "float"\n'
            '[[scheme.layers]]\nmatch = "stages.1.*"\nweight_bits = 3\n'
        )
        flags = [
            "--per-tensor",
            "--first-last",
            "inner",
            "--layer",
            "stages.*=weights:lsq",
            "--activation-method",
            "pact",
        ]
        assert run(["train", "--recipe", str(recipe), "--check", "torch", "--json", *flags]) == 0
        scheme = json.loads(capsys.readouterr().out)["recipe"]["scheme"]
        assert (scheme["per_channel"], scheme["first_last"], scheme["activations"]) == (
            False,
            "inner",
            "pact",
        )
        assert [rule["match"] for rule in scheme["layers"]] == ["stages.1.*", "stages.*"]

    def test_a_method_of_one_width_brings_it(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert (
            run(["train", "resnet8", "--check", "ort-cpu", "--weight-method", "xnor", "--json"])
            == 0
        )
        assert json.loads(capsys.readouterr().out)["recipe"]["scheme"]["weight_bits"] == 1
