"""Names behind a repeated flag: with commas, twice, unknown, and files that are named twice."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.support.runtimes import fake_targets

from edgeq.deploy.cli import run
from edgeq.deploy.evaluation.chain import chain
from edgeq.deploy.names import one_by_one
from edgeq.errors import UnknownName, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable


KNOWN = {"ort-cpu", "tflite", "tflm", "ethos-u55", "emulator"}


@pytest.mark.parametrize(
    ("given", "names"),
    [
        (["ort-cpu"], ["ort-cpu"]),
        (["ort-cpu,tflite"], ["ort-cpu", "tflite"]),
        (["ort-cpu, tflite ,", "tflm"], ["ort-cpu", "tflite", "tflm"]),
        (["tflite", "tflite"], ["tflite"]),
        (["tflite,ort-cpu,tflite"], ["tflite", "ort-cpu"]),
        (["emulator:avx2,emulator:tflm"], ["emulator:avx2", "emulator:tflm"]),
        (
            ["ethos-u55:256,Ethos_U55_Deep_Embedded,Sram_Only,tflite"],
            ["ethos-u55:256,Ethos_U55_Deep_Embedded,Sram_Only", "tflite"],
        ),
        (["tflite,ethos-u55:256,System"], ["tflite", "ethos-u55:256,System"]),
    ],
)
def test_each_name_counts_once(given: list[str], names: list[str]) -> None:
    assert one_by_one("target", given, KNOWN) == names


@pytest.mark.parametrize(
    "given", [["ort-cpu,tflight"], ["tflight,ort-cpu"], ["tflight"], ["tflight:3"]]
)
def test_an_unknown_name_is_told_with_the_nearest(given: list[str]) -> None:
    with pytest.raises(UnknownName, match=r"no target is called .tflight") as caught:
        one_by_one("target", given, KNOWN)
    assert "tflite" in caught.value.hint


@pytest.mark.parametrize("given", [[""], [","], ["tflite", " "]])
def test_no_name_is_refused(given: list[str]) -> None:
    with pytest.raises(UsageError, match="asked for and not named"):
        one_by_one("target", given, KNOWN)


@pytest.mark.parametrize(
    "targets",
    [["-t", "ort-cpu-ref,ort-cpu"], ["-t", "ort-cpu-ref", "-t", "ort-cpu", "-t", "ort-cpu-ref"]],
)
@pytest.mark.usefixtures("fakes")
def test_commands_take_them(answer: Callable[..., Any], tmp_path: Path, targets: list[str]) -> None:
    path = fake_targets.artefact(tmp_path, "onnx")
    found = answer("compare", path, "--data", "fake", *targets)["comparison"]
    assert [stage["target"] for stage in found["stages"]] == ["ort-cpu-ref", "ort-cpu"]
    profiles = answer("profile", path, "--seconds", 0.01, *targets)["profiles"]
    assert [row["target"] for row in profiles] == ["ort-cpu-ref", "ort-cpu"]
    rows = answer(
        "survey", path, "--data", "fake", "--against", "ort-cpu-ref", "--seconds", 0, *targets
    )["survey"]["rows"]
    assert [row["target"] for row in rows] == ["ort-cpu-ref", "ort-cpu"]
    baseline = tmp_path / "base.json"
    accepted = answer("gate", path, "--data", "fake", "--baseline", baseline, "--update", *targets)
    assert [stage["stage"] for stage in accepted["stages"]] == [
        "net.onnx @ ort-cpu-ref",
        "net.onnx @ ort-cpu",
    ]


def test_formats_and_dialects_take_commas_too(refusal: Callable[..., str], tmp_path: Path) -> None:
    (tmp_path / "a.onnx").write_bytes(b"\x08\x0a")
    assert "did you mean 'tflite'" in refusal(
        "export", tmp_path / "a.onnx", "-o", tmp_path, "--to", "onnx,tfltie"
    )
    assert "did you mean 'tensorrt'" in refusal(
        "export", tmp_path / "a.onnx", "-o", tmp_path, "--for", "ort-cpu,tensort"
    )


@pytest.mark.usefixtures("fakes")
def test_a_file_that_is_named_twice_is_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = fake_targets.artefact(tmp_path, "onnx")
    other = fake_targets.artefact(tmp_path, "onnx", name="other")
    monkeypatch.chdir(tmp_path)
    relative = path.relative_to(tmp_path)
    pairs = chain([relative, other, path])
    assert [pair.artefact for pair in pairs] == [relative, relative, other, other]


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        ("edgeq compare a.onnx --target ort-cpu,tflite-b", ["ort-cpu,tflite-builtin"]),
        ("edgeq compare a.onnx --data mni", ["mnist"]),
        ("edgeq lint --device artp", ["artpec-8"]),
        ("edgeq targets setup openv", ["openvino"]),
        ("edgeq targets openv", ["openvino"]),
        ("edgeq train pde-gcn-6", ["pde-gcn-64"]),
        ("edgeq export a --to vec", ["vectors"]),
        ("edgeq compar", ["compare"]),
        ("edgeq compare a.on", []),
    ],
)
def test_a_shell_completes_names(
    words: str,
    offered: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert completed(words, "bash", monkeypatch, capsys) == offered


def test_a_shell_without_a_way_of_its_own_completes_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("a.onnx", "a.txt", "b.tflite"):
        (tmp_path / name).touch()
    (tmp_path / "all").mkdir()
    told = completed(f"edgeq compare {tmp_path}/a", "fish", monkeypatch, capsys)
    assert [Path(line).name for line in told] == ["a.onnx", "all"]


def completed(
    words: str, shell: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> list[str]:
    """What a shell is told to offer for the last of some words."""
    monkeypatch.setenv("_EDGEQ_COMPLETE", f"complete_{shell}")
    monkeypatch.setenv("COMP_WORDS", words)
    monkeypatch.setenv("COMP_CWORD", str(words.count(" ")))
    monkeypatch.setenv("_TYPER_COMPLETE_ARGS", words)
    monkeypatch.setenv("_TYPER_COMPLETE_FISH_ACTION", "get-args")
    with pytest.raises(SystemExit):
        run([])
    return capsys.readouterr().out.split()
