"""Asking for help, or importing the package, loads no framework: the command line answers at once.

Seconds depend on the machine, so none are asserted; the list of loaded modules is what the promise
rests on.
"""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

FRAMEWORKS = {
    "accelerate",
    "ai_edge_litert",
    "onnx",
    "onnx_ir",
    "onnxruntime",
    "onnxscript",
    "torch",
}
HEAVY = FRAMEWORKS | {"jinja2", "numpy", "PIL", "plotly"}
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
