"""The cells of a sweep, each under an address that is made of all that its figures depend on."""

from __future__ import annotations

import hashlib
import json
import shlex
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import edgeq
from edgeq.errors import UsageError
from edgeq.files import sha256_of

if TYPE_CHECKING:
    from edgeq.deploy.sweep.plan import Parameters, Sweep, Work


@dataclass(frozen=True, slots=True)
class Cell:
    """One point of the grid.

    Attributes:
        parameters: of it, by name.
        steps: the command lines of its work, filled in; empty where it is a function's.
        address: hexadecimal digits of a SHA-256 of the code, the work, the parameters, and the
            content of each file that a step names.
    """

    parameters: Parameters
    steps: tuple[str, ...]
    address: str


def cell_of(sweep: Sweep, parameters: Parameters) -> Cell:
    """The cell of some parameters.

    Raises:
        UsageError: a step cannot be filled in, or is no command line.
    """
    steps = tuple(_filled(step, parameters, sweep.here) for step in sweep.work.steps)
    content = {
        "code": sweep.work.version or code_hash(_own_folder(sweep.work)),
        "function": sweep.work.function or sweep.work.experiment,
        "steps": [step.replace(str(sweep.here), "{here}") for step in steps],
        "figures": dict(sorted(sweep.work.figures.items())),
        "parameters": dict(sorted(parameters.items())),
        "files": {
            str(path).replace(str(sweep.here), "{here}"): _hash_of(path)
            for path in _files_in(steps)
        },
    }
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return Cell(parameters, steps, hashlib.sha256(text.encode()).hexdigest())


def _filled(step: str, parameters: Parameters, here: Path) -> str:
    try:
        filled = step.format(**parameters, here=here)
        shlex.split(filled)
    except (ValueError, KeyError, IndexError, AttributeError) as error:
        raise UsageError(
            f"the step {step!r} cannot be used: {error}",
            hint="write parameters as {name}, a brace as {{ or }}, and close every quote",
        ) from error
    return filled


def _files_in(steps: tuple[str, ...]) -> list[Path]:
    """What steps name and is there before they run: their inputs, by absolute path."""
    found: dict[Path, None] = {}
    for step in steps:
        for word in shlex.split(step):
            path = Path(word.partition("=")[2] if word.startswith("--") else word)
            if path.is_absolute() and path.exists():
                found[path] = None
    return sorted(found)


@lru_cache(maxsize=4096)
def _hash_of(path: Path) -> str:
    """Of a file, or of all files below a folder with their names."""
    if path.is_file():
        return sha256_of(path)
    digest = hashlib.sha256()
    for each in sorted(path.rglob("*")):
        if each.is_file():
            digest.update(f"{each.relative_to(path)}\0{sha256_of(each)}\n".encode())
    return digest.hexdigest()


def _own_folder(work: Work) -> Path | None:
    """Where the function of a cell is; the modules beside it, which it may call, are code too."""
    import importlib.util

    if not work.function:
        return None
    found = importlib.util.find_spec(work.function.partition(":")[0])
    return None if found is None or found.origin is None else Path(found.origin).parent


@lru_cache(maxsize=8)
def code_hash(own: Path | None) -> str:
    """Of edgeq's own source, its version, and the modules in the folder of somebody's own code."""
    digest = hashlib.sha256(edgeq.__version__.encode())
    root = Path(edgeq.__file__).parent
    sources = [each for folder in _folders(root) for each in sorted(folder.glob("*.py"))]
    for path in [*sources, *([] if own is None else sorted(own.glob("*.py")))]:
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _folders(root: Path) -> list[Path]:
    """A folder and all below it, links to folders too: a checkout keeps its rooms behind them."""
    inner = sorted(each for each in root.iterdir() if each.is_dir() and each.name != "__pycache__")
    return [root, *(found for each in inner for found in _folders(each))]
