"""The commands one after the other, on real networks, files and runtimes.

What one writes, the next one reads.
"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from edgeq.deploy.cli import run
from edgeq.exporter import EXPORTERS, Exported, ParityReport

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from edgeq.exporter import ExportOptions


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A quantised and an FP32 network after one epoch, so that no tensor is trivial."""
    folder = tmp_path_factory.mktemp("trained")
    recipe = folder / "recipe.toml"
    recipe.write_text(
        'model = "stable-resnet8"\ndata = "digits"\nanneal_from = '
        "8\n[scheme]\nweight_bits = 8\nact_bits = 8\n"
    )
    for name, more in (("quantized", []), ("float", ["--fp32"])):
        arguments = [
            "train",
            "--recipe",
            str(recipe),
            "--epochs",
            "1",
            "--seed",
            "3",
            "--threads",
            "1",
            *more,
        ]
        assert run([*arguments, "-o", str(folder / name)]) == 0
    return {name: folder / name for name in ("quantized", "float")}


def test_training_leaves_a_run(trained: dict[str, Path]) -> None:
    recipe = json.loads((trained["quantized"] / "run.json").read_text())["recipe"]
    assert (recipe["model"], recipe["data"], recipe["epochs"], recipe["seed"]) == (
        "stable-resnet8",
        "digits",
        1,
        3,
    )
    assert (
        recipe["scheme"]["weight_bits"],
        recipe["scheme"]["act_bits"],
        recipe["scheme"]["placement"],
    ) == (8, 8, "integer")
    assert json.loads((trained["float"] / "run.json").read_text())["recipe"]["scheme"] is None


def test_flags_take_precedence_over_the_recipe(answer: Callable[..., Any], tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(
        'model = "resnet8"\ndata = "digits"\nepochs = 9\nbatch_size = 256\nanneal_from = '
        "7\n[scheme]\nweight_bits = 8\nact_bits = 8\n"
    )
    found = answer(
        "train",
        "--recipe",
        recipe,
        "--epochs",
        1,
        "--act-bits",
        7,
        "--threads",
        1,
        "-o",
        tmp_path / "run",
    )["recipe"]
    assert (found["model"], found["epochs"], found["batch_size"]) == ("resnet8", 1, 256)
    assert (found["scheme"]["weight_bits"], found["scheme"]["act_bits"]) == (8, 7)


def test_an_export_changes_no_number_and_compares_equal(
    trained: dict[str, Path], answer: Callable[..., Any], tmp_path: Path
) -> None:
    files = answer("export", trained["quantized"], "--to", "onnx", "-o", tmp_path)["files"]
    assert [(file["format"], file["path"]) for file in files] == [
        ("onnx", str(tmp_path / "quantized.onnx"))
    ]
    assert files[0]["parity"]["different"] == []
    assert files[0]["parity"]["weights"] > 10_000
    found = answer(
        "compare",
        trained["quantized"],
        tmp_path / "quantized.onnx",
        "--data",
        "digits",
        "--limit",
        40,
    )["comparison"]
    assert [stage["target"] for stage in found["stages"]] == [
        "torch-fp32",
        "torch",
        "ort-cpu-ref",
        "ort-cpu",
    ]
    lowering = found["hops"][1]
    assert lowering["cause"] == "lowering"
    counted = [tensor["lsb"] for tensor in lowering["tensors"] if tensor["lsb"]]
    equal = sum(lsb.get("0", 0) for lsb in counted)
    assert counted
    assert equal / sum(sum(lsb.values()) for lsb in counted) > 0.999


def test_both_formats_are_written_under_one_name(
    trained: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert (
        run(
            [
                "export",
                str(trained["quantized"]),
                "-o",
                str(tmp_path),
                "--name",
                "net",
                "--activation-dtype",
                "int8",
                "--io-type",
                "float32",
            ]
        )
        == 0
    )
    assert sorted(path.name for path in tmp_path.iterdir()) == ["net.onnx", "net.tflite"]
    assert "zero points" in capsys.readouterr().out


def test_an_export_is_all_or_nothing(
    trained: dict[str, Path], refusal: Callable[..., str], tmp_path: Path
) -> None:
    (tmp_path / "net.tflite").write_text("somebody's")
    refusal("export", trained["float"], "-o", tmp_path, "--name", "net")
    assert [path.name for path in tmp_path.iterdir()] == ["net.tflite"]
    assert (tmp_path / "net.tflite").read_text() == "somebody's"


def test_a_number_that_changed_fails_by_name(
    trained: dict[str, Path],
    refusal: Callable[..., str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    real = EXPORTERS.load("onnx")

    class Careless:
        suffix = real.suffix

        def export(self, model: Any, options: ExportOptions) -> Exported:
            done = real.export(model, options)
            return Exported(
                done.content,
                replace(done.parity, different=("stem.conv.weight: expected 3, found 4",)),
            )

    monkeypatch.setattr(EXPORTERS, "load", lambda _name: Careless())
    err = refusal("export", trained["quantized"], "--to", "onnx", "-o", tmp_path, code=1)
    assert "1 of " in err
    assert "stem.conv.weight: expected 3, found 4" in err
    assert isinstance(ParityReport(0, 0, 0, 0).compared, int)


def test_a_float_network_is_calibrated(
    trained: dict[str, Path], answer: Callable[..., Any], tmp_path: Path
) -> None:
    found = answer(
        "calibrate",
        trained["float"],
        "--data",
        "digits",
        "--samples",
        64,
        "-o",
        tmp_path / "ptq.onnx",
    )
    assert (found["samples"], found["size_bytes"]) == (64, (tmp_path / "ptq.onnx").stat().st_size)
    files = answer("export", trained["float"], "--to", "onnx", "--name", "float", "-o", tmp_path)[
        "files"
    ]
    assert files[0]["parity"]["weights"] == 0
    answer(
        "calibrate",
        tmp_path / "float.onnx",
        "--data",
        "digits",
        "--samples",
        64,
        "-o",
        tmp_path / "again.onnx",
    )
    arguments = [
        "compare",
        tmp_path / "ptq.onnx",
        tmp_path / "again.onnx",
        "--reference",
        trained["float"],
        "--data",
        "digits",
    ]
    stages = answer(*arguments, "--limit", 100, "--no-tensors", "--target", "ort-cpu-ref")[
        "comparison"
    ]["stages"]
    assert [stage["artefact"] for stage in stages] == ["best.safetensors", "ptq.onnx", "again.onnx"]
    assert min(stage["agreement"] for stage in stages) >= 0.9


def test_a_quantised_network_is_not_calibrated_again(
    trained: dict[str, Path], refusal: Callable[..., str], tmp_path: Path
) -> None:
    assert "quantised already" in refusal(
        "calibrate", trained["quantized"], "--data", "digits", "-o", tmp_path / "x.onnx"
    )


def test_data_of_another_shape_is_refused(
    trained: dict[str, Path], refusal: Callable[..., str], tmp_path: Path
) -> None:
    import numpy as np

    for name in ("train", "test"):
        np.savez(
            tmp_path / f"{name}.npz",
            images=np.zeros((50, 9, 9, 3), np.uint8),
            labels=np.arange(50) % 10,
        )
    for arguments in (
        ["compare"],
        ["profile"],
        ["gate", "--update", "--baseline", tmp_path / "b.json"],
    ):
        assert "shape" in refusal(*arguments, trained["quantized"], "--data", tmp_path)


def test_the_gate_runs_on_real_targets(
    trained: dict[str, Path], answer: Callable[..., Any], tmp_path: Path
) -> None:
    arguments = [
        "gate",
        trained["quantized"],
        "--data",
        "digits",
        "--baseline",
        tmp_path / "base.json",
        "--limit",
        60,
    ]
    updated = answer(*arguments, "--update", "--accept-guessing")
    assert updated["outcome"] == "updated"
    assert answer(*arguments, "--max-drop", 0)["outcome"] == "passed"


def test_one_command_runs_a_network_everywhere(
    trained: dict[str, Path], answer: Callable[..., Any]
) -> None:
    targets = ["torch", "torch-fp32", "ort-cpu", "tflite-ref"]
    flags = [flag for name in targets for flag in ("--target", name)]
    document = answer(
        "survey",
        trained["quantized"],
        "--data",
        "digits",
        "--against",
        "ort-cpu-ref",
        *flags,
        "--limit",
        40,
        "--seconds",
        0.01,
    )
    rows = {row["target"]: row for row in document["survey"]["rows"]}
    assert list(rows) == ["ort-cpu-ref", *sorted(targets)]
    assert sum(rows["tflite-ref"]["lsb"].values()) == 400
    assert rows["torch"]["flipped"] == 0
    assert rows["torch"]["lsb"]["0"] > rows["torch-fp32"]["lsb"]["0"]
    assert {row["profile"]["kind"] for row in rows.values()} == {"measured"}
