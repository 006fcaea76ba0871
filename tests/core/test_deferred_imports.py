"""sympy is run when something in it is used, and is then what it would have been."""

from __future__ import annotations

import subprocess
import sys

import pytest

BEGINS = """import sys
from edgeq.deferred_imports import install
install()
import onnx_ir
assert 'sympy.core' not in sys.modules
"""


def run(program: str) -> None:
    subprocess.run([sys.executable, "-c", BEGINS + program], check=True)


@pytest.mark.parametrize(
    "program",
    [
        "assert (onnx_ir.SymbolicDim('n') * 2 + 1).evaluate({'n': 4}) == 9",
        "import sympy.printing.str; assert sympy.Symbol('x') + 0 == sympy.Symbol('x')",
        "from sympy import *; assert Integer(1) + 1 == 2",
    ],
    ids=["a size is computed with", "a part of it is imported", "all of it is imported"],
)
def test_it_is_there_when_it_is_used(program: str) -> None:
    run(program)


def test_several_threads_find_it_whole() -> None:
    run(
        "import sympy, threading\n"
        "found = []\n"
        "ask = lambda: found.append(sympy.sin(sympy.Integer(0)) + len(dir(sympy)))\n"
        "threads = [threading.Thread(target=ask) for _ in range(8)]\n"
        "[each.start() for each in threads], [each.join() for each in threads]\n"
        "assert len(found) == 8 and len(set(found)) == 1, found\n"
        "import types; assert type(sympy) is types.ModuleType\n"
        "assert not hasattr(sympy, 'nothing') and sympy.__path__\n"
    )
