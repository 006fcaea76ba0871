"""How ``make`` fills its environment.

What it hands on to uv, which build of torch it takes, and what a failure leaves behind.
"""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def install(root: Path) -> Any:
    """The script that ``make`` runs, as a fresh module."""
    spec = importlib.util.spec_from_file_location(
        "edgeq_install", root / "requirements" / "install.py"
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


# -- pip's settings --------------------------------------------------------------------------------


@pytest.fixture
def pip_is_here() -> None:
    if importlib.util.find_spec("pip") is None:
        pytest.skip("this environment has no pip")


@pytest.mark.usefixtures("pip_is_here")
def test_files_and_variables_of_pip_are_read(
    install: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "pip.conf").write_text(
        "[global]\nindex-url = a://index\ntimeout = 7\n[install]\nfind-links =\n    x\n    y\n"
    )
    monkeypatch.setenv("PIP_CONFIG_FILE", str(tmp_path / "pip.conf"))
    monkeypatch.setenv("PIP_TIMEOUT", "9")
    monkeypatch.setenv("PIP_EXTRA_INDEX_URL", "b://one b://two")
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
    settings = install.pip_settings()
    assert settings["index-url"] == "a://index"
    assert settings["find-links"].split() == ["x", "y"]
    assert settings["extra-index-url"] == "b://one b://two"
    assert settings["timeout"] == "9"


def test_settings_of_pip_become_those_of_uv(install: Any) -> None:
    settings = {
        "index-url": "a://index",
        "extra-index-url": "\nb://one\nb://two",
        "find-links": "wheels  c://page",
        "trusted-host": "one two",
        "cert": "ca.pem",
        "proxy": "d://proxy",
        "default-timeout": "180",
        "no-cache-dir": "true",
        "user": "false",
    }
    assert install.for_uv(settings, {}) == {
        "UV_INDEX_URL": "a://index",
        "UV_EXTRA_INDEX_URL": "b://one b://two",
        "UV_INDEX_STRATEGY": "unsafe-best-match",
        "UV_FIND_LINKS": "wheels,c://page",
        "UV_INSECURE_HOST": "one two",
        "SSL_CERT_FILE": "ca.pem",
        "HTTPS_PROXY": "d://proxy",
        "HTTP_PROXY": "d://proxy",
        "UV_HTTP_TIMEOUT": "180",
        "UV_NO_CACHE": "1",
    }


def test_what_is_set_for_uv_itself_goes_before(install: Any) -> None:
    mine = {"UV_FIND_LINKS": "mine", "UV_DEFAULT_INDEX": "a://mine", "SSL_CERT_FILE": "mine.pem"}
    assert (
        install.for_uv({"find-links": "pips", "index-url": "a://pips", "cert": "pips.pem"}, mine)
        == {}
    )


# -- the build of torch ----------------------------------------------------------------------------


@pytest.fixture
def linux(install: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The script on Linux without a GPU, torch and uv.

    What uv is asked to do is noted, and it finds no build for the CPU.
    """
    install.asked = []
    monkeypatch.setattr(install.platform, "system", lambda: "Linux")
    monkeypatch.delenv("UV_TORCH_BACKEND", raising=False)
    install.has_gpu = lambda: False
    install._installed = lambda _package: ""
    install.uv = lambda *arguments: install.asked.append(arguments)
    install._refused = lambda _flags: "there is none"
    monkeypatch.setattr(install.subprocess, "run", no_program)
    return install


def no_program(*_arguments: Any, **_settings: Any) -> None:
    raise AssertionError(
        "these tests run no program: whether uv is here, and what it finds, is the machine's"
    )


def test_a_cpu_build_that_pip_would_find_is_taken(linux: Any) -> None:
    linux._refused = lambda flags: None if flags == [f"torch=={version(linux)}+cpu"] else "no"
    linux._install_torch([])
    assert linux.asked == [("install", "--no-deps", f"torch=={version(linux)}+cpu")]


def test_else_the_cpu_build_that_uv_knows_of(linux: Any) -> None:
    linux._refused = lambda flags: None if "--torch-backend" in flags else "no"
    linux._install_torch([])
    assert linux.asked == [
        ("install", "--no-deps", f"torch=={version(linux)}", "--torch-backend", "cpu")
    ]


def test_else_the_common_build_hash_checked_with_a_word_on_its_size(
    linux: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    linux._refused = lambda flags: "there is no network to it"
    linux._install_torch([])
    assert linux.asked == [
        ("install", "--no-deps", "--require-hashes", "-r", str(linux.HERE / "torch.txt"))
    ]
    said = capsys.readouterr().err
    assert "there is no network to it" in said
    assert "GB" in said
    assert "PIP_FIND_LINKS" in said


def test_a_gpu_gets_the_common_build(linux: Any) -> None:
    linux.has_gpu = lambda: True
    linux._install_torch([])
    assert linux.asked == [
        ("install", "--no-deps", "--require-hashes", "-r", str(linux.HERE / "torch.txt"))
    ]


def test_a_backend_that_is_asked_for_is_taken(linux: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UV_TORCH_BACKEND", "cu126")
    linux._install_torch([])
    assert linux.asked == [("install", f"torch=={version(linux)}")]


def test_a_build_that_is_there_stays(linux: Any) -> None:
    linux._installed = lambda _package: f"{version(linux)}+anything"
    linux._install_torch([])
    assert linux.asked == []
    linux._install_torch(["--reinstall"])
    assert len(linux.asked) == 1


def version(module: Any) -> str:
    found: str = module.pinned(module.HERE / "torch.txt", "torch")
    return found


# -- failures --------------------------------------------------------------------------------------


def test_after_a_failure_everything_of_the_set_is_put_in_place_again(
    install: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(install.sys, "prefix", str(tmp_path))
    asked: list[tuple[str, ...]] = []

    def fail(*arguments: str) -> None:
        asked.append(arguments)
        if len(asked) == 1:
            raise install.Failed("uv pip install failed, see above")

    install._bring_uv, install.pip_settings, install.uv = lambda: None, dict, fail
    monkeypatch.setenv("UV_PYTHON", "")  # which main sets, to be put back
    assert install.main(["test"]) == 1
    assert "give the command again" in capsys.readouterr().err
    assert install.main(["test"]) == 0
    assert ["--reinstall" in arguments for arguments in asked] == [False, True]
    assert install.main(["test"]) == 0
    assert "--reinstall" not in asked[-1]


def test_an_unknown_set_is_named(install: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert install.main(["everything"]) == 2
    assert "core, edge, test, check" in capsys.readouterr().err


@pytest.fixture
def checkout(root: Path, tmp_path: Path) -> Path:
    """A checkout whose Python installs what a file says.

    It copies its arguments there and ends with that file's code.
    """
    if shutil.which("make") is None:
        pytest.skip("there is no make here")
    shutil.copy(root / "Makefile", tmp_path)
    shutil.copy(root / "pyproject.toml", tmp_path)
    shutil.copytree(root / "requirements", tmp_path / "requirements")
    python = tmp_path / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(
        '#!/bin/sh\ncase "$*" in *install.py*) echo "$2" >> said; exit "$(cat code)";; esac\n'
    )
    python.chmod(0o755)
    (tmp_path / "code").write_text("0")
    return tmp_path


def made(checkout: Path, goal: str) -> tuple[int, list[str]]:
    """Make a goal's environment; returns the exit code and the sets that were installed."""
    (checkout / "said").unlink(missing_ok=True)
    ended = subprocess.run(["make", "-s", goal], cwd=checkout, capture_output=True, check=False)
    return ended.returncode, (checkout / "said").read_text().split() if (
        checkout / "said"
    ).exists() else []


def test_a_failed_installation_leaves_no_stamp_and_is_tried_again(checkout: Path) -> None:
    (checkout / "code").write_text("1")
    assert made(checkout, ".venv/.edgeq-core")[0] != 0
    assert not (checkout / ".venv" / ".edgeq-core").exists()
    (checkout / "code").write_text("0")
    assert made(checkout, ".venv/.edgeq-core") == (0, ["core"])
    assert made(checkout, ".venv/.edgeq-core") == (0, [])


@pytest.mark.parametrize(
    ("goal", "sets"),
    [
        ("demo", ["core"]),
        ("docs", ["core", "docs"]),
        ("test", ["core", "edge", "test"]),
        ("check", ["core", "edge", "test", "check", "docs"]),
        ("install", ["core", "edge", "test", "check", "docs", "release"]),
        ("audit", ["core", "release"]),
    ],
)
def test_a_goal_brings_what_it_needs_and_no_more(
    goal: str, sets: list[str], checkout: Path
) -> None:
    listed = subprocess.run(
        ["make", "-n", goal], cwd=checkout, capture_output=True, text=True, check=True
    ).stdout
    assert [line.split()[-1] for line in listed.splitlines() if "install.py" in line] == sets


def test_the_script_runs_on_the_standard_library_alone(root: Path) -> None:
    code = "import runpy, sys; runpy.run_path(sys.argv[1], run_name='looked at')"
    script = root / "requirements" / "install.py"
    out = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code, str(script)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert out.returncode == 0, out.stderr
