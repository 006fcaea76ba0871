"""Environments have the name of their contents, whole or absent, made from local wheels."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from tests.support.models import onnx_models

from edgeq.errors import OutputError, TargetError, UsageError
from edgeq.targets.workers.launchers import Interpreter
from edgeq.targets.workers.provisioning import environments
from edgeq.targets.workers.target import WorkerTarget

if TYPE_CHECKING:
    from collections.abc import Callable

    Make = Callable[..., WorkerTarget]

PINNED = ("borrowed-numpy==1.0",)
# Makes an environment of itself, and says nothing whatever it is given then.
OBEDIENT = """if [ "$2" = venv ]; then
for last; do :; done
mkdir -p "$last/bin"; cp "$0" "$last/bin/python"
fi
exit 0"""


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(environments.HOME, str(tmp_path / "home"))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    return tmp_path / "home"


@pytest.fixture
def wheel(tmp_path: Path) -> Path:
    """A package that lends the numpy of this interpreter to another one."""
    lent = tmp_path / "lent"
    lent.mkdir()
    for folder in Path(np.__file__).parent.parent.glob("numpy*"):
        (lent / folder.name).symlink_to(folder)
    path = tmp_path / "borrowed_numpy-1.0-py3-none-any.whl"
    info = "borrowed_numpy-1.0.dist-info"
    files = {
        "borrowed_numpy.pth": f"{lent}\n",
        f"{info}/METADATA": "Metadata-Version: 2.1\nName: borrowed-numpy\nVersion: 1.0\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: by hand\nRoot-Is-Purelib: true\nTag: "
        "py3-none-any\n",
    }
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
        archive.writestr(
            f"{info}/RECORD", "".join(f"{name},,\n" for name in [*files, f"{info}/RECORD"])
        )
    return path


def target(engine_file: str, make: Make, requirements: tuple[str, ...] = PINNED) -> WorkerTarget:
    faulty = make()
    return WorkerTarget(
        "lent", faulty.capabilities, engine_file, requirements, limits=faulty.limits
    )


def left_behind(home: Path) -> list[str]:
    return sorted(path.name for path in (home / "environments").glob("*"))


@pytest.mark.usefixtures("wheel")
def test_a_target_in_an_environment_of_its_own(
    engine_file: str, make: Make, model: Path, own_home: Path
) -> None:
    lent, said = target(engine_file, make), list[str]()
    assert not lent.probe().usable
    assert lent.probe().hint == "edgeq targets setup lent"
    with pytest.raises(
        TargetError, match=r"no environment with borrowed-numpy[\s\S]*edgeq targets setup lent"
    ):
        lent.open(model)
    python = lent.setup(say=said.append)
    assert any("installing borrowed-numpy==1.0" in text for text in said)
    assert lent.probe().versions == {"numpy": np.__version__}
    assert lent.place() == Interpreter(python)
    images = onnx_models.images(2)
    with lent.open(model) as session:
        assert np.array_equal(session.run(images), images + np.float32(1))
    assert lent.setup(say=said.append) == python
    assert "is there already" in said[-1]
    assert left_behind(own_home) == [python.parent.parent.name]


@pytest.mark.slow
def test_what_pip_cannot_install(engine_file: str, make: Make, own_home: Path) -> None:
    with pytest.raises(TargetError, match=r"pip install failed with exit code 1: .*no-such-thing"):
        target(engine_file, make, ("no-such-thing==1.0",)).setup()
    assert left_behind(own_home) == []


def stub(folder: Path, script: str) -> str:
    """Stands for this interpreter."""
    path = folder / "python"
    path.write_text(f"#!/bin/sh\n{script}")
    path.chmod(0o755)
    return str(path)


def test_a_full_disk_below_pip(
    engine_file: str, make: Make, own_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = "ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device"
    monkeypatch.setattr(sys, "executable", stub(tmp_path, f"echo '{said}' >&2; exit 1"))
    with pytest.raises(
        OutputError, match=r"No space left on device[\s\S]*hint: free some space, or .* EDGEQ_HOME"
    ):
        target(engine_file, make).setup()
    assert left_behind(own_home) == []


@pytest.mark.parametrize(
    ("number", "hint"), [(errno.ENOSPC, "free some space"), (errno.EACCES, "that you may write")]
)
def test_what_a_full_or_a_foreign_folder_needs_is_told(
    number: int,
    hint: str,
    engine_file: str,
    make: Make,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(Path, "mkdir", full)
    with pytest.raises(OutputError, match=rf"{os.strerror(number)}[\s\S]*{hint}.* EDGEQ_HOME"):
        target(engine_file, make).setup()


def test_a_runtime_that_does_not_start_leaves_no_environment(
    engine_file: str, make: Make, own_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", stub(tmp_path, OBEDIENT))
    with pytest.raises(TargetError, match="before it began"):
        target(engine_file, make).setup()
    assert left_behind(own_home) == []


def test_what_a_killed_setup_left_is_cleared_away(
    engine_file: str, make: Make, own_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    place = environments.folder(PINNED)
    for owner in (ended.pid, os.getppid()):
        (place.parent / f".{place.name}.{owner}" / "half").mkdir(parents=True)
    monkeypatch.setattr(sys, "executable", stub(tmp_path, "exit 1"))
    with pytest.raises(TargetError, match="python -m venv failed with exit code 1"):
        target(engine_file, make).setup()
    assert left_behind(own_home) == [f".{place.name}.{os.getppid()}"]


def test_environments_go_by_what_is_in_them(
    own_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = environments.folder(["b==1", "a==2"])
    assert one == environments.folder(["b==1", "a==2"])
    assert one != environments.folder(["b==1", "a==3"])
    assert one.parent == own_home / "environments"
    assert environments.names(["a-b==1", "c[x]==2", "d @ file:///e", "f<2"]) == [
        "a-b",
        "c",
        "d",
        "f",
    ]
    monkeypatch.delenv(environments.HOME)
    monkeypatch.setenv("XDG_CACHE_HOME", str(own_home / "cache"))
    assert environments.home() == own_home / "cache" / "edgeq"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(own_home))
    assert environments.home() == own_home / ".cache" / "edgeq"


def test_half_an_environment_is_none(own_home: Path) -> None:
    place = environments.folder(PINNED)
    (place / "bin").mkdir(parents=True)
    (place / "bin" / "python").write_text("")
    assert environments.python_of(PINNED) is None
    (place / environments.RECORD).write_text("{}")
    assert environments.python_of(PINNED) == place / "bin" / "python"
    assert environments.versions_of(PINNED) == {}
    assert own_home in place.parents


def test_a_target_that_needs_no_environment(make: Make) -> None:
    with pytest.raises(UsageError, match="has no environment to set up"):
        make().setup()
