"""A wrong command line ends with its exit code, a message and a hint, never a traceback."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.support.runtimes import fake_targets
from typer.main import get_command

import edgeq
from edgeq.deploy import cli
from edgeq.deploy.cli import run
from edgeq.deploy.evaluation import selftest
from edgeq.errors import GateFailed, Inconclusive, Interrupted, TargetError

if TYPE_CHECKING:
    from collections.abc import Callable

MAIN = "from edgeq.deploy.cli import main; main()"


def start(*arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", MAIN, *arguments],
        capture_output=True,
        text=True,
        check=False,
        **options,
    )


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["comapre"], "Did you mean 'compare'"),
        (["compare", "x.onnx", "--dta", "digits"], "--data"),
        (["compare"], "Missing argument 'artefacts'"),
        (["compare", "x.onnx"], "Missing option '--data'"),
        (["compare", "x.onnx", "--data", "digits", "--limit", "many"], "--limit"),
        (["profile", "x.onnx", "--threads", "0"], "--threads"),
        (["--nonsense"], "--nonsense"),
        (["targets", "ort-cqu"], "did you mean 'ort-cpu'"),
        (["data", "digitz"], "did you mean 'digits'"),
        (["data", "--data-dir", "/nowhere/at/all"], "does not exist"),
        (["train", "resnet9", "--data", "digits", "-o", "{tmp}/run"], "did you mean 'resnet"),
        (["train", "-o", "{tmp}/run"], "no model is named"),
        (
            [
                "train",
                "resnet8",
                "--data",
                "digits",
                "-o",
                "{tmp}/run",
                "--fp32",
                "--weight-bits",
                "4",
            ],
            "--fp32",
        ),
        (
            ["train", "resnet8", "--data", "digits", "-o", "{tmp}/run", "--weight-bits", "9"],
            "2 to 8",
        ),
        (
            ["train", "resnet8", "--data", "digits", "-o", "{tmp}/run", "--placement", "nowhere"],
            "placement",
        ),
        (["train", "resnet8", "--data", "digits", "-o", "{tmp}/run", "--epochs", "0"], "epochs"),
        (["train", "resnet8", "--data", "digits", "-o", "{tmp}/run", "--lr", "nan"], "lr"),
        (
            ["train", "resnet8", "--data", "digits", "-o", "{tmp}/run", "--resume", "--overwrite"],
            "--resume",
        ),
        (["train", "--recipe", "{tmp}/no.toml", "-o", "{tmp}/run"], "no recipe at"),
        (["export", "{tmp}/absent", "-o", "{tmp}"], "no artefact at"),
        (["export", "{tmp}/a.onnx", "-o", "{tmp}", "--to", "tfltie"], "did you mean 'tflite'"),
        (
            ["export", "{tmp}/a.onnx", "-o", "{tmp}", "--activation-dtype", "int9"],
            "did you mean 'int8'",
        ),
        (
            ["export", "{tmp}/a.onnx", "-o", "{tmp}", "--io-type", "floot32"],
            "did you mean 'float32'",
        ),
        (["export", "{tmp}/a.onnx", "-o", "{tmp}", "--io-layout", "nhcw"], "did you mean 'nhwc'"),
        (["export", "{tmp}/a.onnx", "-o", "{tmp}", "--weight-storage", "int"], "Known: int4, int8"),
        (
            ["calibrate", "{tmp}/a.onnx", "--data", "digits", "-o", "{tmp}/out.txt"],
            "does not end in .onnx",
        ),
        (
            [
                "calibrate",
                "{tmp}/a.onnx",
                "--data",
                "digits",
                "-o",
                "{tmp}/b.onnx",
                "--observer",
                "minmix",
            ],
            "did you mean 'minmax'",
        ),
        (
            ["compare", "{tmp}/a.onnx", "--data", "digits", "--preprocess", "dataste"],
            "did you mean 'dataset'",
        ),
        (["compare", "{tmp}/a.onnx", "--data", "digits", "--preprocess", "imagenet"], "channels"),
        (["compare", "{tmp}/a.onnx", "--data", "digits", "--split", "tets"], "did you mean 'test'"),
        (
            ["compare", "{tmp}/a.onnx", "--data", "digits", "--target", "ort-cqu"],
            "did you mean 'ort-cpu'",
        ),
        (
            ["compare", "{tmp}/a.onnx", "--data", "digits", "--target", "torch"],
            "none of the targets torch opens",
        ),
        (
            ["compare", "{tmp}/a.onnx", "--data", "digits", "--reference", "{tmp}/nobody"],
            "no artefact at",
        ),
        (["profile", "{tmp}", "--seconds", "0.1"], "holds no checkpoint"),
    ],
)
def test_bad_requests(
    refusal: Callable[..., str], tmp_path: Path, arguments: list[str], words: str
) -> None:
    (tmp_path / "a.onnx").write_bytes(b"\x08\x0a")
    assert words in refusal(*(argument.format(tmp=tmp_path) for argument in arguments))


@pytest.mark.parametrize("command", ["compare", "profile", "gate", "export", "calibrate"])
@pytest.mark.parametrize("suffix", [".onnx", ".tflite", ".safetensors", ".txt", ""])
@pytest.mark.parametrize(
    "content",
    [None, b"", b"\x08\x0a", b"not a model at all, just text", b"\0\0\0\0TFL3\xff\xff\xff\xff\xff"],
)
def test_files_that_are_no_artefacts(
    refusal: Callable[..., str], tmp_path: Path, command: str, suffix: str, content: bytes | None
) -> None:
    path = tmp_path / f"model{suffix}"
    if content is not None:
        path.write_bytes(content)
    rest: dict[str, list[object]] = {
        "compare": ["--data", "digits"],
        "profile": ["--seconds", "0.1"],
        "gate": ["--data", "digits", "--baseline", tmp_path / "b.json", "--update"],
        "export": ["-o", tmp_path / "out"],
        "calibrate": ["--data", "digits", "-o", tmp_path / "out.onnx"],
    }
    before = sorted(tmp_path.iterdir())
    refusal(command, path, *rest[command])
    assert sorted(tmp_path.iterdir()) == before


def test_data_that_does_not_fit(refusal: Callable[..., str], fakes: object, tmp_path: Path) -> None:
    artefact = fake_targets.artefact(tmp_path, "onnx")
    assert "do not fit" in refusal("compare", artefact, "--data", "digits")
    assert "do not fit" in refusal("profile", artefact, "--data", "digits")


def test_data_that_is_broken(refusal: Callable[..., str], tmp_path: Path) -> None:
    (tmp_path / "train.npz").write_bytes(b"PK\x03\x04")
    (tmp_path / "test.npz").write_bytes(b"")
    assert str(tmp_path) in refusal("data", tmp_path)


def test_existing_output_is_kept(refusal: Callable[..., str], tmp_path: Path) -> None:
    for name in ("a.onnx", "b.onnx", "out/a.tflite", "run/last.safetensors"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"\x08\x0a")
    assert "exists already" in refusal("export", tmp_path / "a.onnx", "-o", tmp_path / "out")
    assert "exists already" in refusal(
        "calibrate", tmp_path / "a.onnx", "--data", "digits", "-o", tmp_path / "b.onnx"
    )
    assert "holds a run already" in refusal(
        "train", "resnet8", "--data", "digits", "-o", tmp_path / "run", "--epochs", "1"
    )
    assert {path.read_bytes() for path in tmp_path.rglob("*.*")} == {b"\x08\x0a"}


def test_output_that_cannot_be_written(refusal: Callable[..., str], tmp_path: Path) -> None:
    (tmp_path / "a.onnx").write_bytes(b"\x08\x0a")
    (tmp_path / "file").write_bytes(b"x")
    assert "cannot be written" in refusal(
        "export", tmp_path / "a.onnx", "-o", tmp_path / "file" / "below"
    )
    assert "cannot be written" in refusal(
        "calibrate", tmp_path / "a.onnx", "--data", "digits", "-o", tmp_path / "file" / "x.onnx"
    )
    assert "cannot be written" in refusal("demo", "-o", tmp_path / "file" / "demo")


def test_an_export_never_replaces_its_source(refusal: Callable[..., str], tmp_path: Path) -> None:
    (tmp_path / "a.onnx").write_bytes(b"\x08\x0a")
    refusal("export", tmp_path / "a.onnx", "-o", tmp_path, "--overwrite")
    refusal(
        "calibrate",
        tmp_path / "a.onnx",
        "--data",
        "digits",
        "-o",
        tmp_path / "a.onnx",
        "--overwrite",
    )
    assert (tmp_path / "a.onnx").read_bytes() == b"\x08\x0a"


@pytest.mark.parametrize(
    ("raised", "code", "words"),
    [
        (GateFailed("worse", hint="look"), 1, "edgeq: worse\n  hint: look"),
        (Inconclusive("unsure", hint="more"), 3, "edgeq: unsure"),
        (TargetError("gone", hint="install"), 4, "edgeq: gone"),
        (Interrupted("stopped", hint="--resume"), 130, "edgeq: stopped"),
        (KeyboardInterrupt(), 130, "edgeq: interrupted"),
    ],
)
def test_exit_codes(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    raised: BaseException,
    code: int,
    words: str,
) -> None:
    _raise_in_targets(monkeypatch, raised)
    assert run(["targets"]) == code
    captured = capsys.readouterr()
    assert words in captured.err
    assert (captured.out, "Traceback" in captured.err) == ("", False)


INTERRUPTED_IMPORT = """
import sys
class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == {name!r}:
            raise KeyboardInterrupt
sys.meta_path.insert(0, Finder())
sys.argv = ["edgeq", "compare", {file!r}, "--data", "digits"]
from edgeq.__main__ import main
main()
"""


@pytest.mark.parametrize(
    "module",
    [
        "typer",
        "edgeq.deploy.commands.train",
        "numpy",
        "edgeq.deploy.evaluation.compare",
        "edgeq.data.readers.digits",
    ],
)
def test_ctrl_c_while_it_imports_is_a_line(tmp_path: Path, module: str) -> None:
    program = INTERRUPTED_IMPORT.format(
        name=module, file=str(fake_targets.artefact(tmp_path, "onnx"))
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (130, "")
    assert done.stderr == (
        "edgeq: interrupted\n  hint: no file is half written; the same command begins again\n"
    )


def test_a_bug_leaves_its_traceback_in_a_file(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    _raise_in_targets(monkeypatch, ZeroDivisionError("oh"))
    assert run(["targets"]) == 70
    err = capsys.readouterr().err
    (file,) = tmp_path.iterdir()
    assert "a bug of edgeq's: ZeroDivisionError: oh" in err
    assert str(file) in err
    assert "Traceback" not in err
    assert "Traceback" in file.read_text()


def test_debug_shows_tracebacks(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _raise_in_targets(monkeypatch, TargetError("gone", hint="install"))
    assert run(["--debug", "targets"]) == 4
    assert "Traceback" in capsys.readouterr().err
    run(["targets"])
    assert "Traceback" not in capsys.readouterr().err
    monkeypatch.setenv("EDGEQ_DEBUG", "1")
    run(["targets"])
    assert "Traceback" in capsys.readouterr().err


def _raise_in_targets(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    def fail(_name: str | None = None) -> None:
        raise error

    monkeypatch.setattr("edgeq.deploy.listing.list_targets", fail)


def test_version_and_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--version"]) == 0
    assert capsys.readouterr().out == f"edgeq {edgeq.__version__}\n"
    assert run([]) == 0
    bare = capsys.readouterr().out
    assert run(["--help"]) == 0
    assert capsys.readouterr().out == bare
    assert "compare" in bare


def test_every_option_of_every_command_is_explained() -> None:
    group: Any = get_command(cli.app)
    for command in group.commands.values():
        assert command.help
        assert [parameter.name for parameter in command.params if not parameter.help] == []


def test_the_defaults_that_train_tells_are_those_of_the_recipe() -> None:
    from edgeq.deploy.demo.run import EPOCHS
    from edgeq.deploy.pipeline.training_options import recipe_of
    from edgeq.network.placement import FIRST_LAST

    group: Any = get_command(cli.app)
    commands = group.commands
    recipe = recipe_of(None, "resnet8", None, {}, lambda scheme: scheme)
    assert recipe.scheme is not None
    held = {
        **recipe.to_dict(),
        **recipe.scheme.to_dict(),
        "optimizer": recipe.optimizer.name,
        "schedule": recipe.schedule.name,
    }
    held |= {"first_last": FIRST_LAST[recipe.scheme.placement]}
    in_words: dict[str, dict[object, str]] = {
        "per_channel": {None: "per tensor from scratch, else per channel"},
        "affine": {None: "symmetric from scratch, else affine"},
        "normalize_weights": {None: "from scratch only"},
        "pair_safe": {True: "yes"},
        "compiled": {False: "no"},
    }
    in_words |= {"augmentation": {None: "the data set's"}}
    told = {
        option.name: option.help.rpartition("(")[2].rstrip(").")
        for option in commands["train"].params
        if option.help.endswith(").")
    }
    assert {
        "data",
        "weight_bits",
        "weights",
        "first_last",
        "epochs",
        "lr",
        "optimizer",
        "ema",
        "seed",
        *in_words,
    } <= set(told)
    assert told == {
        name: in_words[name][held[name]] if name in in_words else _as_told(held[name])
        for name in told
    }
    assert f"({EPOCHS})" in next(
        option.help for option in commands["demo"].params if option.name == "epochs"
    )


def _as_told(value: object) -> str:
    return f"{value:.4f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)


def test_the_console_script_and_a_reader_that_leaves() -> None:
    assert start("--version").stdout == f"edgeq {edgeq.__version__}\n"
    process = subprocess.Popen(
        [sys.executable, "-c", MAIN, "data"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    process.stdout.close()
    _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device of Linux")
@pytest.mark.parametrize("arguments", [("data",), ("operators", "--json")])
def test_an_output_without_room(arguments: tuple[str, ...]) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-c", MAIN, *arguments],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert done.returncode == 2
    assert (
        done.stderr
        == "edgeq: standard output cannot be written: No space left on device\n  hint: make "
        "room there, or send it elsewhere\n"
    )


def test_no_output_at_all() -> None:
    command = f'exec "{sys.executable}" -c "$0" data >&-'
    done = subprocess.run(
        ["sh", "-c", command, MAIN], stderr=subprocess.PIPE, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_listings(
    answer: Callable[..., Any],
    fakes: dict[str, fake_targets.FakeTarget],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(
        selftest,
        "self_test",
        lambda _target: (selftest.SelfTest("tflite", True, "40 integers are right", 0.01, 1.0),),
    )
    fakes["a-board"].usable = False
    rows = {row["name"]: row for row in answer("targets")["targets"]}
    assert (rows["a-board"]["usable"], rows["a-board"]["hint"], rows["ort-cpu"]["formats"]) == (
        False,
        "install one",
        ["onnx"],
    )
    assert [row["name"] for row in answer("targets", "tflite")["targets"]] == ["tflite"]
    assert "digits" in {row["name"] for row in answer("data")["data"]}
    assert answer("data", "digits")["data"][0]["splits"]["test"] > 0
    assert run(["targets"]) == run(["data"]) == run(["data", "digits"]) == 0
    assert "no runtime; install one" in capsys.readouterr().out


def test_a_target_that_cannot_be_tried_is_shown_and_has_not_passed(
    fakes: dict[str, fake_targets.FakeTarget], capsys: pytest.CaptureFixture[str]
) -> None:
    fakes["a-board"].usable = False
    assert run(["targets", "a-board"]) == 4
    told = capsys.readouterr()
    assert "no runtime" in told.out
    assert told.err == "edgeq: a-board is not usable here: no runtime\n  hint: install one\n"


def test_the_networks(answer: Callable[..., Any], capsys: pytest.CaptureFixture[str]) -> None:
    found = answer("models")
    assert {spec["name"] for spec in found["published"]} <= {
        model["name"] for model in found["models"]
    }
    assert run(["models"]) == 0
    assert "stable-resnet56" in capsys.readouterr().out


def test_compare_prints_tables_and_json(
    answer: Callable[..., Any], fakes: object, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = [
        fake_targets.artefact(tmp_path / kind, kind, wrong=i)
        for i, kind in enumerate(fake_targets.HEAD)
    ]
    found = answer("compare", *files, "--data", "fake")["comparison"]
    assert [stage["target"] for stage in found["stages"]][-1] == "a-board"
    assert found["hops"][1]["tensors"][1]["sqnr_db"] is None
    assert run(["compare", *map(str, files), "--data", "fake", "--reference", str(files[0])]) == 0
    out = capsys.readouterr().out
    for words in ("net.onnx @ ort-cpu", "quantisation", "±1: 80 of 80", "1 of 2 tensors differs"):
        assert words in out


def test_training_folders_stand_for_their_checkpoint(
    answer: Callable[..., Any], fakes: object, tmp_path: Path
) -> None:
    fake_targets.artefact(tmp_path / "run", "checkpoint", name="best")
    found = answer("compare", tmp_path / "run", "--data", "fake")["comparison"]
    assert found["stages"][0]["artefact"] == "best.safetensors"
