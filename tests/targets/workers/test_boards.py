"""The user's file of boards.

What may stand there becomes a target, and all else is named with its place.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from tests.support.models import onnx_models, tflite_models

from edgeq.errors import UnknownName, UsageError
from edgeq.target import TARGETS
from edgeq.targets import tflite
from edgeq.targets.workers import boards
from edgeq.targets.workers.launchers import Container, Here, Interpreter, Qemu, Ssh
from edgeq.targets.workers.process import Limits
from edgeq.targets.workers.target import WorkerTarget

if TYPE_CHECKING:
    from collections.abc import Callable

    Write = Callable[[str], Path]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Makes the text the only file of boards there is."""

    def put(text: str) -> Path:
        path = tmp_path / boards.FILE
        path.write_text(text)
        monkeypatch.setenv(boards.VARIABLE, str(path))
        return path

    return put


def loaded(name: str) -> WorkerTarget:
    target = TARGETS.load(name)
    assert isinstance(target, WorkerTarget)
    return target


def test_a_board_over_ssh(write: Write) -> None:
    path = write("""
        [pi4]
        launcher = "ssh"
        host = "pi@10.0.0.7"
        python = "/srv/venv/bin/python3"
        port = 2222
        identity = "keys/pi"
        engine = "tflite"
        options = { kernels = "reference" }
        open_seconds = 60
        run_seconds = 2.5
        memory_mb = 512
    """)
    assert "pi4" in TARGETS.names()
    target = loaded("pi4")
    assert target.launcher == Ssh(
        "pi@10.0.0.7", "/srv/venv/bin/python3", 2222, path.parent / "keys/pi"
    )
    assert target.limits == Limits(60.0, 2.5, 512 * 2**20)
    assert (target.name, target.engine, dict(target.options)) == (
        "pi4",
        "tflite",
        {"kernels": "reference"},
    )
    assert target.capabilities.formats == {"tflite"}
    assert target.capabilities.intermediates
    assert target.capabilities.on_request
    assert "ssh pi@10.0.0.7" in target.capabilities.summary


def test_every_launcher(write: Write) -> None:
    path = write("""
        [a]
        launcher = "here"
        engine = "ort"
        [b]
        launcher = "interpreter"
        python = "/e/bin/python"
        engine = "ort"
        options = { optimize = false }
        [c]
        launcher = "container"
        program = "podman"
        image = "i:1"
        arguments = ["--gpus", "all"]
        engine = "ort"
        [d]
        launcher = "qemu"
        root = "root"
        python = "root/usr/bin/python3"
        site = "site"
        engine = "tflite"
        [e]
        launcher = "environment"
        requirements = ["onnxruntime==1.20.0", "numpy==1.26.4"]
        engine = "ort"
        summary = "an older ONNX Runtime"
    """)
    here = path.parent
    assert [loaded(name).launcher for name in "abcde"] == [
        Here(),
        Interpreter(Path("/e/bin/python")),
        Container("i:1", "podman", arguments=("--gpus", "all")),
        Qemu(here / "root", here / "root/usr/bin/python3", here / "site"),
        None,
    ]
    assert loaded("e").requirements == ("onnxruntime==1.20.0", "numpy==1.26.4")
    assert loaded("e").capabilities.summary == "an older ONNX Runtime"
    assert "edgeq targets setup e" in loaded("e").probe().hint
    assert loaded("b").capabilities.storage_dtypes == frozenset()
    assert [loaded(name).capabilities.latency for name in "cd"] == ["measured", "simulated"]


def test_a_file_among_the_options_lies_beside_the_file_of_boards(write: Write) -> None:
    path = write(
        '[chip]\nlauncher = "here"\nengine = "ethos-u55"\noptions = { config = "chips/mine.ini" }'
    )
    assert loaded("chip").options["config"] == str(path.parent / "chips/mine.ini")
    assert loaded("chip").options["accelerator"] == "ethos-u55-128"


def test_a_board_here_runs(write: Write, tmp_path: Path) -> None:
    write('[mine]\nlauncher = "here"\nengine = "tflite"\noptions = { kernels = "reference" }')
    model, images = tmp_path / "m.tflite", onnx_models.images(3)
    model.write_bytes(tflite_models.int8_model())
    target = loaded("mine")
    assert target.probe().usable
    with target.open(model) as session, tflite.reference.open(model) as known:
        assert np.array_equal(session.run(images), known.run(images))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[a", "is no TOML"),
        ("a = 1", r"a is no table[\s\S]*write \[a\]"),
        ('[setup]\nlauncher = "here"\nengine = "ort"', "setup is a word of the command line"),
        ('["a b"]\nlauncher = "here"\nengine = "ort"', "a b has a name that cannot be typed"),
        ('[a]\nengine = "ort"', "a lacks the key 'launcher'"),
        ('[a]\nlauncher = "here"', "a lacks the key 'engine'"),
        (
            '[a]\nlauncher = "telnet"\nengine = "ort"',
            r"has the launcher 'telnet'[\s\S]*choose one of here, ",
        ),
        ('[a]\nlauncher = "ssh"\nengine = "ort"', "a lacks the key 'host'"),
        (
            '[a]\nlauncher = "ssh"\nengine = "ort"\nhost = "b"\nbaud = 9600',
            r"has the key 'baud'[\s\S]*known: .*host",
        ),
        ('[a]\nlauncher = "ssh"\nengine = "ort"\nhost = 7', "host = 7, which is no str"),
        (
            '[a]\nlauncher = "ssh"\nengine = "ort"\nhost = "b"\nport = true',
            "port = True, which is no int",
        ),
        (
            '[a]\nlauncher = "here"\nengine = "ort"\nrun_seconds = "long"',
            "which is no int or float",
        ),
        ('[a]\nlauncher = "here"\nengine = "ort"\nrun_seconds = 0', "a limit below zero"),
        ('[a]\nlauncher = "here"\nengine = "ort"\nmemory_mb = -1', "a limit below zero"),
        (
            '[a]\nlauncher = "here"\nengine = "tflite"\noptions = { kernels = "fast" }',
            "which its engine does not know",
        ),
        (
            '[a]\nlauncher = "here"\nengine = "tflite"\noptions = { kernals = "reference" }',
            r"has the option 'kernals'[\s\S]*known: kernels, module",
        ),
        (
            '[a]\nlauncher = "here"\nengine = "tflite"\noptions = { kernels = ["builtin"] }',
            'choose one of "xnnpack", ',
        ),
        (
            '[a]\nlauncher = "here"\nengine = "tflite"\noptions = { module = "tflite" }',
            'choose one of "ai_edge_litert.interpreter"',
        ),
        (
            '[a]\nlauncher = "here"\nengine = "ort"\noptions = { optimise = false }',
            r"has the option 'optimise'[\s\S]*known: optimize",
        ),
        (
            '[a]\nlauncher = "here"\nengine = "ort"\noptions = { optimize = "no" }',
            r'optimize = "no", [\s\S]*choose one of true, false',
        ),
        (
            '[a]\nlauncher = "here"\nengine = "tflm"\noptions = { arena = 9 }',
            r"has the option 'arena'[\s\S]*known: arena_bytes",
        ),
        (
            '[a]\nlauncher = "here"\nengine = "qnn-htp"\noptions = { cores = 9 }',
            r"has the option 'cores'[\s\S]*has no options",
        ),
        ('[a]\nlauncher = "environment"\nengine = "ort"', "has no requirements"),
        (
            '[a]\nlauncher = "environment"\nengine = "ort"\nrequirements = ["onnxruntime"]',
            "requirements that are not exact",
        ),
    ],
)
def test_what_is_wrong_is_named(write: Write, text: str, words: str) -> None:
    path = write(text)
    name = "setup" if "[setup]" in text else "a b" if "a b" in text else "a"
    with pytest.raises(UsageError, match=words) as caught:
        TARGETS.load(name)
    assert str(path) in str(caught.value)
    assert "hint: " in str(caught.value)


def test_an_engine_nobody_has(write: Write) -> None:
    write('[a]\nlauncher = "here"\nengine = "tflit"')
    with pytest.raises(UnknownName, match="did you mean 'tflite'"):
        TARGETS.load("a")


def test_limits_of_an_installed_target(write: Write) -> None:
    name = next(
        (name for name in TARGETS.names() if isinstance(TARGETS.load(name), WorkerTarget)), None
    )
    if name is None:
        pytest.skip("no installed target runs in a worker")
    write(f"[{name}]\nrun_seconds = 7")
    assert loaded(name).limits.run_seconds == 7.0
    write(f'[{name}]\nlauncher = "here"')
    with pytest.raises(UsageError, match="has the key 'launcher'"):
        TARGETS.load(name)
    write("[ort-cpu]\nrun_seconds = 7")
    with pytest.raises(UsageError, match="runs in no worker"):
        TARGETS.load("ort-cpu")


def test_where_the_file_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(boards.VARIABLE, raising=False)
    config, work = tmp_path / "config", tmp_path / "work"
    for place, names in ((config / "edgeq", "ab"), (work, "bc")):
        place.mkdir(parents=True)
        text = "\n".join(
            f'[{name}]\nlauncher = "here"\nengine = "ort"\nsummary = "of {place.name}"'
            for name in names
        )
        (place / boards.FILE).write_text(text)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(config))
    monkeypatch.chdir(work)
    assert [loaded(name).capabilities.summary for name in "abc"] == [
        "of edgeq",
        "of work",
        "of work",
    ]
    monkeypatch.setenv(boards.VARIABLE, str(tmp_path / "nowhere.toml"))
    with pytest.raises(UsageError, match=r"EDGEQ_TARGETS names .*nowhere"):
        TARGETS.names()


def test_the_example_in_the_docs(write: Write) -> None:
    page = Path(__file__).parents[3] / "docs" / "reference" / "targets.md"
    example = page.read_text("utf-8").partition("```toml")[2].partition("```")[0]
    write(example)
    found = {name: loaded(name) for name in tomllib.loads(example)}
    assert isinstance(found["pi4"].launcher, Ssh)
    assert found["pi4-reference"].capabilities.intermediates
    assert found["older-onnxruntime"].requirements
    assert found["tflm"].limits.run_seconds == 600


def test_boards_run_only_where_they_are_named(write: Write, tmp_path: Path) -> None:
    from edgeq.deploy.evaluation.chain import chain

    write('[mine]\nlauncher = "here"\nengine = "ort"')
    model = onnx_models.save(onnx_models.qdq_model(), tmp_path / "m.onnx")
    assert "mine" not in {pair.target for pair in chain([model])}
    assert [pair.target for pair in chain([model], ["mine"])] == ["mine"]
