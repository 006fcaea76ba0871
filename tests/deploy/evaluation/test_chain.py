"""The order of stages, what lies between them, and what cannot be run."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from tests.support.runtimes import fake_targets

from edgeq.deploy.evaluation.chain import Pair, cause, chain, reference_of
from edgeq.errors import ArtefactError, TargetError, UnknownName, UsageError
from edgeq.target import TARGETS

if TYPE_CHECKING:
    from pathlib import Path

    from edgeq.target import Target

pytestmark = pytest.mark.usefixtures("fakes")


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    return {
        kind: fake_targets.artefact(tmp_path, kind) for kind in ("tflite", "checkpoint", "onnx")
    }


def test_stages_follow_the_chain_and_strangers_come_last(files: dict[str, Path]) -> None:
    found = [(pair.artefact.suffix, pair.target) for pair in chain(list(files.values()))]
    assert found == [
        (".safetensors", "torch-fp32"),
        (".safetensors", "torch"),
        (".onnx", "ort-cpu-ref"),
        (".onnx", "ort-cpu"),
        (".tflite", "tflite-ref"),
        (".tflite", "tflite"),
        (".tflite", "a-board"),
    ]


def test_files_of_one_format_stay_together_in_the_order_given(tmp_path: Path) -> None:
    b, a = (fake_targets.artefact(tmp_path, "onnx", name=name) for name in "ba")
    assert chain([b, a, b]) == (
        Pair(b, "ort-cpu-ref"),
        Pair(b, "ort-cpu"),
        Pair(a, "ort-cpu-ref"),
        Pair(a, "ort-cpu"),
    )


def test_unusable_targets_are_left_out_unless_asked_for(
    files: dict[str, Path], fakes: dict[str, fake_targets.FakeTarget]
) -> None:
    fakes["ort-cpu"].usable = False
    assert [pair.target for pair in chain([files["onnx"]])] == ["ort-cpu-ref"]
    with pytest.raises(
        TargetError, match="'ort-cpu' is not usable here: no runtime\n  hint: install one"
    ):
        chain([files["onnx"]], ["ort-cpu"])
    fakes["ort-cpu-ref"].usable = False
    with pytest.raises(TargetError, match="no target that is usable here opens"):
        chain([files["onnx"]])


def test_what_cannot_be_asked(files: dict[str, Path]) -> None:
    with pytest.raises(UsageError, match="no artefact"):
        chain([])
    with pytest.raises(UnknownName, match="did you mean 'torch'"):
        chain([files["checkpoint"]], ["torhc"])
    with pytest.raises(UsageError, match=r"none of the targets torch opens .*net\.onnx"):
        chain([files["onnx"], files["checkpoint"]], ["torch"])
    with pytest.raises(UsageError, match="'tflite' opens none"):
        chain([files["onnx"]], ["ort-cpu", "tflite"])
    with pytest.raises(ArtefactError, match="no artefact at"):
        chain([files["onnx"].with_name("absent.onnx")])


@pytest.mark.parametrize(
    ("start", "end", "expected"),
    [
        (("checkpoint", "torch-fp32"), ("checkpoint", "torch"), "quantisation"),
        (("checkpoint", "torch"), ("onnx", "ort-cpu-ref"), "lowering"),
        (("onnx", "ort-cpu-ref"), ("onnx", "ort-cpu"), "graph optimisation"),
        (("onnx", "ort-cpu-ref"), ("tflite", "tflite-ref"), "conversion + kernel rounding"),
        (
            ("onnx", "ort-cpu"),
            ("tflite", "tflite-ref"),
            "graph optimisation + conversion + kernel rounding",
        ),
        (("tflite", "tflite-ref"), ("tflite", "tflite"), "kernel rounding"),
        (
            ("checkpoint", "torch-fp32"),
            ("onnx", "ort-cpu"),
            "quantisation + lowering + graph optimisation",
        ),
        (("tflite", "tflite"), ("tflite", "a-board"), "another target"),
        (("onnx", "ort-cpu"), ("onnx", "ort-cpu"), "nothing"),
        (("onnx", "emulator"), ("tflite", "emulator"), "conversion"),
    ],
)
def test_the_cause_is_what_lies_between(
    files: dict[str, Path], start: tuple[str, str], end: tuple[str, str], expected: str
) -> None:
    assert cause(Pair(files[start[0]], start[1]), Pair(files[end[0]], end[1])) == expected


def test_two_files_of_one_format_are_another_artefact(
    files: dict[str, Path], tmp_path: Path
) -> None:
    other = fake_targets.artefact(tmp_path, "onnx", name="other")
    assert cause(Pair(files["onnx"], "ort-cpu"), Pair(other, "ort-cpu")) == "another artefact"
    assert (
        cause(Pair(files["onnx"], "ort-cpu"), Pair(other, "ort-cpu-ref"))
        == "another artefact + graph optimisation"
    )


def test_a_faulty_board_does_not_hide_the_reference(
    fakes: dict[str, fake_targets.FakeTarget], monkeypatch: pytest.MonkeyPatch
) -> None:
    load = TARGETS.load

    def faulty(name: str) -> Target:
        if name == "a-board":
            raise UsageError("a-board has no such launcher", hint="correct its description")
        return load(name)

    wanted = fakes["tflite-ref"]
    wanted.capabilities = replace(wanted.capabilities, reference=True)
    assert min(TARGETS.names()) == "a-board", "it is asked first"
    monkeypatch.setattr(TARGETS, "load", faulty)
    assert reference_of("tflite") is wanted
