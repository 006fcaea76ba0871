"""``--model`` and ``--data`` as code of the user's own.

What they name runs, what only a file names does not.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from edgeq import factories
from edgeq.deploy.cli import run
from edgeq.deploy.inputs import load_data
from edgeq.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

NETS = """
import numpy as np
import torch
from torch import nn
from torch.utils.data import TensorDataset

open("imported", "w").close()

def net():
    layers = nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8), nn.SiLU()
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4))

def data():
    images = np.random.default_rng(0).integers(0, 255, (80, 8, 8, 1)).astype(np.uint8)
    return (images, np.arange(80) % 4), (images[:20], np.arange(20) % 4)

def data_sets():
    images = torch.randint(0, 256, (80, 1, 8, 8)) / 255
    labels = torch.arange(80) % 4
    return [TensorDataset(images, labels), TensorDataset(images[:8], labels[:8])]

def normalised():
    images = torch.randn(20, 1, 8, 8)
    return [TensorDataset(images, torch.arange(20) % 4)] * 2

def with_nan():
    images = torch.zeros(20, 1, 8, 8)
    images[0] = float("nan")
    return [TensorDataset(images, torch.arange(20) % 4)] * 2

def named_classes():
    images, labels = data()[0]
    return [(images, np.array(["cat", "dog"] * 40))] * 2

def float_images(): return [(part[0] / 255, part[1]) for part in data()]
def no_images(): return [(np.zeros((0, 8, 8, 1), np.uint8), np.zeros(0, int))] * 2
def half_classes(): return [TensorDataset(torch.zeros(20, 1, 8, 8), torch.arange(20) / 2)] * 2

class Torn(list):
    def __getitem__(self, index): raise OSError("cannot read image")

def torn(): return [Torn([1]), Torn([1])]

class Holder:
    net = staticmethod(net)

number = 3
def of_three(): return 3
def failing(): raise RuntimeError("no luck")
def of_two_classes(): return nn.Sequential(nn.Flatten(), nn.Linear(64, 2))
def of_colours(): return nn.Conv2d(3, 4, 3)
"""
TRAIN = ("train", "--data", "{name}:data", "--epochs", "1", "--batch-size", "16", "-o", "run")


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A module in the current folder, under a name that no other test has imported.

    Nothing is permitted yet.
    """
    monkeypatch.chdir(tmp_path)
    name = f"nets_{abs(hash(str(tmp_path)))}"
    (tmp_path / f"{name}.py").write_text(NETS)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(factories, "_permitted", {})
    yield name
    sys.modules.pop(name, None)


def train(name: str, *arguments: str) -> int:
    return run([each.format(name=name) for each in (*TRAIN, *arguments)])


def forget(name: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in the next command: nothing is imported or permitted."""
    monkeypatch.setattr(factories, "_permitted", {})
    sys.modules.pop(name)
    (folder / "imported").unlink()


def test_trained_and_exported(
    package: str,
    tmp_path: Path,
    answer: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert train(package, "--model", f"{package}:Holder.net") == 0
    said = capsys.readouterr().out.splitlines()[-1]
    assert said == f"next: edgeq export run --model {package}:Holder.net -o exported"
    forget(package, tmp_path, monkeypatch)
    document = answer("export", "run", "--model", f"{package}:Holder.net", "-o", "out")
    assert [file["parity"]["different"] for file in document["files"]] == [[], []]
    assert {path.suffix for path in (tmp_path / "out").iterdir()} == {".onnx", ".tflite"}


def test_a_gate_that_init_writes_opens_a_network_of_ones_own(
    package: str,
    tmp_path: Path,
    answer: Callable[..., Any],
    refusal: Callable[..., str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Beside the files made of it; without its name init refuses, and nothing is imported."""
    own, data = ("--model", f"{package}:net"), ("--data", f"{package}:data")
    assert train(package, *own) == 0
    capsys.readouterr()
    answer("export", "run", *own, "-o", "out")
    files = ("run", *sorted((tmp_path / "out").iterdir()))
    forget(package, tmp_path, monkeypatch)
    told = refusal("gate", "init", *files, *data)
    assert f"code of somebody's own\n  hint: where you trust it, add {' '.join(own)}" in told
    assert "none of the artefacts is" in refusal("gate", "init", *files[1:], *own, *data)
    assert not (tmp_path / "edgeq-gate.toml").exists()
    assert not (tmp_path / "imported").exists()
    targets = ("-t", "torch,ort-cpu-ref,tflite-ref")
    stages = answer("gate", "init", *files, *own, *data, *targets)["stages"]
    assert [stage.rpartition(" ")[2] for stage in stages] == ["torch", "ort-cpu-ref", "tflite-ref"]
    assert answer("gate", "--update", "--accept-guessing")["outcome"] == "updated"
    forget(package, tmp_path, monkeypatch)
    assert answer("gate")["outcome"] == "passed"


def test_what_comes_after_a_calibration_names_the_function(
    package: str, answer: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The network is a file only while the command runs."""
    monkeypatch.setattr("edgeq.deploy.evaluation.plausibility.doubts", lambda *_: "is it?")
    own = ("--model", f"{package}:net", "--data", f"{package}:data")
    told = answer("calibrate", *own, "-o", "q.onnx", "--samples", "8", "--held-back", "0")
    assert told["next"] == f"edgeq compare {' '.join(own)}"


def test_fp32_trains_and_becomes_a_file_too(
    package: str, answer: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    assert train(package, "--model", f"{package}:net", "--fp32") == 0
    capsys.readouterr()
    assert answer("export", "run", "--model", f"{package}:net", "-o", "out", "--to", "onnx")[
        "files"
    ]


@pytest.mark.parametrize(
    "arguments",
    [("export", "run", "-o", "out"), ("compare", "run", "--data", "digits"), ("audit", "run")],
)
def test_what_only_a_checkpoint_names_is_not_imported(
    arguments: tuple[str, ...],
    package: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert train(package, "--model", f"{package}:net") == 0
    forget(package, tmp_path, monkeypatch)
    assert run([*arguments]) != 0
    assert not (tmp_path / "imported").exists()
    assert package not in sys.modules
    assert "Traceback" not in capsys.readouterr().err


def test_what_only_a_recipe_names_is_not_imported(
    package: str, tmp_path: Path, refusal: Callable[..., str]
) -> None:
    (tmp_path / "recipe.toml").write_text(
        f'model = "{package}:net"\ndata = "{package}:data"\nepochs = 1\n'
    )
    assert f"--data {package}:data" in refusal("train", "--recipe", "recipe.toml", "-o", "run")
    assert not (tmp_path / "imported").exists()
    (tmp_path / "recipe.toml").write_text(f'model = "{package}:net"\ndata = "digits"\nepochs = 1\n')
    assert f"--model {package}:net" in refusal("train", "--recipe", "recipe.toml", "-o", "run")
    assert not (tmp_path / "imported").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--model", "nowhere.at.all:net"), "no module 'nowhere'"),
        (("--model", "{name}:nets"), "has no 'nets'"),
        (("--model", "{name}"), "names no function"),
        (("--model", "{name}:number"), "which cannot be called"),
        (("--model", "{name}:of_three"), "no torch.nn.Module"),
        (("--model", "{name}:failing"), "RuntimeError: no luck"),
        (("--model", "{name}:of_two_classes"), "the data has 4 classes"),
        (("--model", "{name}:of_colours"), "cannot read samples of (1, 8, 8)"),
        (("resnet8", "--model", "{name}:net"), "two networks are named"),
        (("{name}:net",), "--model"),
        (("--model", "{name}:net", "--data", "{name}:of_three"), "is a int, which is no data"),
        (("--model", "{name}:net", "--data", "{name}:with_nan"), "a sample with NaN or infinity"),
        (
            ("--model", "{name}:net", "--data", "{name}:named_classes"),
            "the labels of the training part of {name}:named_classes are <U3",
        ),
        (
            ("--model", "{name}:net", "--data", "{name}:half_classes"),
            "the labels of the data are no classes",
        ),
        (
            ("--model", "{name}:net", "--data", "{name}:no_images"),
            "the training part of {name}:no_images is empty",
        ),
        (
            ("--model", "{name}:net", "--data", "{name}:float_images"),
            "to have 1 channels, but got 8 channels instead",
        ),
        (
            ("--model", "{name}:net", "--data", "{name}:torn"),
            "has 1 samples, and fails at 0 with OSError('cannot read image')",
        ),
    ],
)
def test_mistakes_are_named(
    arguments: tuple[str, ...], words: str, package: str, refusal: Callable[..., str]
) -> None:
    line = [each.format(name=package) for each in (*TRAIN, *arguments)]
    assert words.format(name=package) in refusal(*line)


def test_a_module_that_fails_is_named(
    package: str, tmp_path: Path, refusal: Callable[..., str]
) -> None:
    (tmp_path / f"{package}.py").write_text("import nothing_of_this_name\n")
    assert f"importing {package} fails with ModuleNotFoundError" in refusal(
        "train", "--model", f"{package}:net", "-o", "run"
    )


def test_torch_data_sets_and_arrays_become_the_same_kind_of_data(package: str) -> None:
    source, other = load_data(f"{package}:data", None), load_data(f"{package}:data_sets", None)
    assert source.shape == other.shape == (1, 8, 8)
    assert len(source.classes) == len(other.classes) == 4
    assert (
        len(source.train) + len(source.validation) == len(other.train) + len(other.validation) == 80
    )
    assert other.test.images.dtype == np.uint8
    assert other.test.images[:].max() > 200, "values of 0..1 are eight-bit ones again"


def test_numbers_that_are_no_eight_bit_images_are_fed_as_they_are(package: str) -> None:
    assert train(package, "--model", f"{package}:net", "--data", f"{package}:normalised") == 0
    source = load_data(f"{package}:normalised", None)
    assert source.preprocessing.described() == "raw"
    assert source.test.images[:].min() < 0


def test_code_that_is_not_what_the_file_names_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(factories, "_permitted", {"nets:other": object})
    with pytest.raises(UsageError, match=r"which a file names and you have not \(but nets:other\)"):
        factories.call("nets:net", flag="--model")


def test_code_that_nobody_has_named_is_not_called() -> None:
    with pytest.raises(UsageError, match="somebody's own") as caught:
        factories.call("os:getcwd", flag="--model")
    assert "--model os:getcwd" in caught.value.hint
