"""Composes a worker's program.

One text, sent over standard input, so that nothing has to be copied to where it runs.

The modules keep the names that they have here. An engine's ``import edgeq.targets.workers.wire``
therefore means the copy that came with it, and works where edgeq is not installed, or another
version of it is.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from edgeq.errors import TargetError

BOOTSTRAP = "import sys;i=sys.stdin.buffer;exec(i.read(int(i.readline())))"
"""The code for ``python -c``: read a length, then as many bytes of source, and run them."""

_ROOM = "edgeq.targets.workers"
# what engines import, before any of them
SHARED = ("wire", "serve", "ort_model", "litert_profiler")
_HERE = Path(__file__).parent
_LOADER = """
import sys, types
def add(name, source):
    module = sys.modules[name] = types.ModuleType(name)
    if source is None:
        module.__path__ = []
    else:
        exec(compile(source, name, "exec"), module.__dict__)
    return module
for name, source in MODULES:
    last = add(name, source)
sys.modules["edgeq.targets.workers.serve"].main(last, sys.stdin.buffer)
"""


def compose(engine: str) -> bytes:
    """What to send to :data:`BOOTSTRAP`: the length in a line, then the program.

    Args:
        engine: the name of a file in ``engines/``, or the path of a file of the same shape; or a
            module, with dots in its name, which is imported where it runs with all that it needs.

    Raises:
        TargetError: there is no such engine.
    """
    if "." in engine and not engine.endswith(".py"):
        return _of_ours(engine)
    path = Path(engine) if engine.endswith(".py") else _HERE / "engines" / f"{engine}.py"
    if not path.is_file():
        raise TargetError(
            f"there is no worker engine {engine!r}", hint=f"choose one of {', '.join(engines())}"
        )
    modules: list[tuple[str, str | None]] = [
        (name, None) for name in ("edgeq", "edgeq.targets", _ROOM, f"{_ROOM}.engines")
    ]
    modules += [(f"{_ROOM}.{name}", (_HERE / f"{name}.py").read_text("utf-8")) for name in SHARED]
    modules.append((f"{_ROOM}.engines.{path.stem}", path.read_text("utf-8")))
    text = f"MODULES = {_literal(modules)}{_LOADER}".encode()
    return b"%d\n%s" % (len(text), text)


def _of_ours(engine: str) -> bytes:
    """The program of an engine that imports edgeq, from where this process has it."""
    text = (
        f"import sys\nsys.path[:] = {[str(Path(one).resolve()) for one in sys.path]!r}\n"
        f"import {engine} as engine\n"
        f"from {_ROOM} import serve\nserve.main(engine, sys.stdin.buffer)\n"
    ).encode()
    return b"%d\n%s" % (len(text), text)


def engines() -> list[str]:
    """The names of the engines that come with edgeq, sorted."""
    return sorted(path.stem for path in (_HERE / "engines").glob("*.py") if path.stem != "__init__")


def _literal(modules: list[tuple[str, str | None]]) -> str:
    return f"__import__('json').loads({json.dumps(json.dumps(modules))})"
