"""Fill the environment that runs this with sets of packages, pinned and hash-checked, by uv.

``.venv/bin/python requirements/install.py core test`` installs what ``core.txt`` and ``test.txt``
name; ``make`` calls it. It needs the standard library and pip only. What is configured for pip
(indexes, folders of wheels, certificates, proxies) holds for uv too.

torch is a case of its own: on Linux its common build brings CUDA, gigabytes of it, so a build for
the CPU is looked for where no NVIDIA GPU is. See docs/decisions/0011-locked-sets.md.
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from ast import literal_eval
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

HERE = Path(__file__).parent
SETS = ("core", "edge", "test", "check", "docs", "release")
_LISTS = {
    "index-url": "UV_INDEX_URL",
    "extra-index-url": "UV_EXTRA_INDEX_URL",
    "trusted-host": "UV_INSECURE_HOST",
}
_PLAIN = {
    "cert": ("SSL_CERT_FILE",),
    "client-cert": ("SSL_CLIENT_CERT",),
    "proxy": ("HTTPS_PROXY", "HTTP_PROXY"),
    "timeout": ("UV_HTTP_TIMEOUT",),
    "default-timeout": ("UV_HTTP_TIMEOUT",),
}
_SWITCHES = {"no-cache-dir": "UV_NO_CACHE"}
_CUDA = """\
No CPU build of torch {version} is offered here: {why}.
The common build follows, with CUDA: about 2.7 GB to download and 5 GB on the disk, none of
which edgeq needs without a GPU. To stay small: stop this with Ctrl-C, get the wheel of
torch {version}+cpu, set PIP_FIND_LINKS to its folder, and give the command again."""


class Failed(Exception):
    """uv or pip ended with an error, which it has told."""


def main(sets: Sequence[str]) -> int:
    """Install sets of packages; returns the exit code."""
    unknown = [name for name in sets if name not in SETS]
    if unknown or not sets:
        say(f"name sets to install: {', '.join(SETS)}")
        return 2
    os.environ.update(for_uv(pip_settings(), os.environ), UV_PYTHON=sys.executable)
    try:
        _bring_uv()
        for name in sets:
            _install(name)
    except Failed as error:
        say(f"{error}. What is missing is installed when you give the command again.")
        return 1
    except KeyboardInterrupt:
        say("interrupted. What is missing is installed when you give the command again.")
        return 130
    return 0


def _install(name: str) -> None:
    """Install a set.

    What was cut off while packages were put in place looks whole to uv, so then all are put there
    again.
    """
    half = Path(sys.prefix) / f".edgeq-half-made-{name}"
    again = ["--reinstall"] if half.exists() else []
    half.touch()
    if name == "core":
        _install_torch(again)
    say(f"installing the set {name}")
    uv("install", "--no-deps", "--require-hashes", "-r", str(HERE / f"{name}.txt"), *again)
    if name == "core":
        uv(
            "install",
            "--no-deps",
            "--no-build-isolation",
            "--reinstall-package",
            "edgeq",
            "-e",
            str(HERE.parent),
        )
    half.unlink()


def say(text: str) -> None:
    """Tell people what goes on."""
    print(f"edgeq: {text}", file=sys.stderr, flush=True)


# -- what pip is set to ----------------------------------------------------------------------------


def pip_settings() -> dict[str, str]:
    """The settings of ``pip install``, from its files and variables, by the names of its flags."""
    listed = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"],
        capture_output=True,
        encoding="utf-8",
        check=False,
    ).stdout
    found: dict[str, dict[str, str]] = {"global": {}, "install": {}, ":env:": {}}
    for line in listed.splitlines():
        key, _, value = line.partition("=")
        section, _, name = key.rpartition(".")
        if section in found:
            found[section][name.replace("_", "-")] = str(literal_eval(value))
    return {**found["global"], **found["install"], **found[":env:"]}


def for_uv(settings: Mapping[str, str], environment: Mapping[str, str]) -> dict[str, str]:
    """The variables that tell uv what pip is set to; what is set for uv itself goes before.

    Args:
        settings: of pip, as :func:`pip_settings` gives them.
        environment: the variables that are set.
    """
    wanted = {
        variable: " ".join(settings[name].split())
        for name, variable in _LISTS.items()
        if name in settings
    }
    if "find-links" in settings:
        places = [
            place if "://" in place else str(Path(place).expanduser())
            for place in settings["find-links"].split()
        ]
        wanted["UV_FIND_LINKS"] = ",".join(places)
    if "extra-index-url" in settings:
        # pip's own: the best of all indexes; hashes say that it is the right file
        wanted["UV_INDEX_STRATEGY"] = "unsafe-best-match"
    wanted |= {
        variable: settings[name]
        for name, variables in _PLAIN.items()
        if name in settings
        for variable in variables
    }
    wanted |= {
        variable: "1"
        for name, variable in _SWITCHES.items()
        if settings.get(name, "0").lower() in ("1", "true", "yes", "on")
    }
    taken = {*environment, *(["UV_INDEX_URL"] if "UV_DEFAULT_INDEX" in environment else [])}
    return {name: value for name, value in wanted.items() if name not in taken}


# -- uv --------------------------------------------------------------------------------------------


def pinned(lock: Path, package: str) -> str:
    """The version of a package in a lock."""
    lines = (
        line.partition(";")[0].strip(" \\\n")
        for line in lock.read_text(encoding="utf-8").splitlines()
    )
    return next(line.partition("==")[2] for line in lines if line.startswith(f"{package}=="))


def _bring_uv() -> None:
    lock = HERE / "uv.txt"
    if _answers() == f"uv {pinned(lock, 'uv')}":
        return
    say("installing uv, which installs the rest")
    quiet = ["--quiet", "--disable-pip-version-check", "--no-input", "--force-reinstall"]
    command = [
        sys.executable,
        "-m",
        "pip",
        "install",
        *quiet,
        "--no-deps",
        "--require-hashes",
        "-r",
        str(lock),
    ]
    if subprocess.run(command, check=False).returncode:
        raise Failed("pip could not install uv")


def _uv() -> str:
    return str(Path(sys.executable).parent / "uv")


def _answers() -> str:
    try:
        said = subprocess.run(
            [_uv(), "--version"], capture_output=True, encoding="utf-8", check=False
        ).stdout.split()
    except OSError:
        return ""
    return " ".join(said[:2])


def uv(*arguments: str) -> None:
    """Run ``uv pip``, which shows how far it is.

    Raises:
        Failed: it ended with an error.
    """
    if subprocess.run([_uv(), "pip", *arguments], check=False).returncode:
        raise Failed(f"uv pip {arguments[0]} failed, see above")


# -- torch -----------------------------------------------------------------------------------------


def _install_torch(again: Sequence[str]) -> None:
    wanted = pinned(HERE / "torch.txt", "torch")
    if not again and _installed("torch").partition("+")[0] == wanted:
        return
    if "UV_TORCH_BACKEND" in os.environ:
        say(
            f"installing torch {wanted} for {os.environ['UV_TORCH_BACKEND']}, as "
            "UV_TORCH_BACKEND asks"
        )
        uv("install", f"torch=={wanted}", *again)
        return
    flags, why = _cpu_build(wanted)
    if flags is not None:
        say(f"installing torch {wanted}, its build for the CPU")
        uv("install", "--no-deps", *flags, *again)
        return
    say(why or f"installing torch {wanted}")
    uv("install", "--no-deps", "--require-hashes", "-r", str(HERE / "torch.txt"), *again)


def _installed(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def _cpu_build(wanted: str) -> tuple[list[str] | None, str]:
    """What ``uv pip install`` needs for a CPU build; None where the common build is used."""
    if platform.system() != "Linux":
        return None, ""
    if has_gpu():
        return (
            None,
            (
                f"installing torch {wanted} with CUDA, about 2.7 GB, for the NVIDIA GPU of "
                "this machine"
            ),
        )
    known, elsewhere = [f"torch=={wanted}+cpu"], [f"torch=={wanted}", "--torch-backend", "cpu"]
    refused = _refused(known)
    if refused is None:
        return known, ""
    refused = _refused(elsewhere)
    return (elsewhere, "") if refused is None else (None, _CUDA.format(version=wanted, why=refused))


def _refused(flags: Sequence[str]) -> str | None:
    """Why uv finds no such build; None where it finds one."""
    tried = subprocess.run(
        [_uv(), "pip", "install", "--dry-run", "--no-deps", *flags],
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    if tried.returncode == 0:
        return None
    said = [
        line.strip().removeprefix("cause: ") for line in tried.stderr.splitlines() if line.strip()
    ]
    return said[min(1, len(said) - 1)] if said else f"uv ended with {tried.returncode}"


def has_gpu() -> bool:
    """Whether this machine has an NVIDIA GPU with its driver."""
    if Path("/proc/driver/nvidia/version").exists() or Path("/sys/module/nvidia/version").exists():
        return True
    asked = shutil.which("nvidia-smi")
    return asked is not None and subprocess.run(
        [asked, "--list-gpus"], capture_output=True, check=False
    ).stdout.startswith(b"GPU ")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
