"""Asking for help, or importing the package, loads no framework: the command line answers at once.

Seconds depend on the machine, so none are asserted; the list of loaded modules is what the promise
rests on.
"""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from importlib import import_module
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

IMPORTED = re.compile(
    r"^\s*(?:from ((?:edgeq|tests)[\w.]*) import ([\w, ]+)|import (edgeq[\w.]*))", re.MULTILINE
)
"""An import in a program that a test runs."""
MISSING_ON_PURPOSE = {"edgeq.not_written_yet"}

FRAMEWORKS = {
    "accelerate",
    "ai_edge_litert",
    "onnx",
    "onnx_ir",
    "onnxruntime",
    "onnxscript",
    "torch",
}
HEAVY = FRAMEWORKS | {"numpy", "PIL"}
REPORT = (
    "import json, sys; print(json.dumps(sorted({name.partition('.')[0] for name in "
    "sys.modules})), file=sys.stderr)"
)
RUN = (
    "import sys; from edgeq.deploy.cli import main; sys.argv = ['edgeq', "
    "*{arguments!r}]\ntry: main()\nfinally: {report}"
)


def loaded(code: str) -> set[str]:
    """The top-level names in ``sys.modules`` after a fresh interpreter has run some code."""
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert out.returncode == 0, out.stderr
    return set(json.loads(out.stderr.splitlines()[-1]))


def test_the_check_sees_a_heavy_import() -> None:
    assert {"numpy"} <= loaded(f"import numpy; {REPORT}") & HEAVY


@pytest.mark.parametrize("module", ["edgeq", "edgeq.errors", "edgeq.registry", "edgeq.deploy.cli"])
def test_importing_loads_no_framework(module: str) -> None:
    assert loaded(f"import {module}; {REPORT}") & HEAVY == set()


@pytest.mark.parametrize(
    "arguments", [["--help"], ["export", "--help"], ["compare", "--help"], ["--version"]]
)
def test_asking_for_help_loads_no_framework(arguments: list[str]) -> None:
    assert loaded(RUN.format(arguments=arguments, report=REPORT)) & HEAVY == set()


def test_reading_onnx_does_not_run_sympy() -> None:
    """It is half of what onnx_ir takes to import, and for sizes that are computed with."""
    command = RUN.replace("edgeq.deploy.cli", "edgeq.__main__")
    used = "import edgeq.calibration.quantize; assert 'sympy.core' not in sys.modules"
    code = command.format(arguments=["--version"], report=f"{used}; {REPORT}")
    assert "onnx_ir" in loaded(code)


def test_a_program_of_its_own_imports_as_it_always_did() -> None:
    code = "import sys; before = list(sys.meta_path); import edgeq; assert sys.meta_path == before"
    loaded(f"{code}; {REPORT}")


def test_programs_in_strings_import_what_exists(root: Path, tracked: tuple[Path, ...]) -> None:
    """No type checker looks into the programs that tests and benchmarks run."""
    programs = [
        (f"{path}:{node.lineno}", node.value)
        for path in tracked
        if path.suffix == ".py" and path.relative_to(root).parts[0] in ("tests", "benchmarks")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    ]
    missing = [
        f"{where}: {package or module} {name}"
        for where, program in programs
        for package, names, module in IMPORTED.findall(program)
        for name in names.replace(" ", "").split(",")
        if module not in MISSING_ON_PURPOSE and not exists(package or module, name)
    ]
    assert missing == []


def exists(module: str, name: str) -> bool:
    """Whether a module is there, and a name in it or a module under it."""
    try:
        found = import_module(module)
    except ModuleNotFoundError:
        return False
    return not name or hasattr(found, name) or exists(f"{module}.{name}", "")
