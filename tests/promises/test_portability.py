"""What macOS and Windows ask of the code, as far as it can be checked without them.

No module needs what POSIX alone has to be imported, text has an encoding, and names of files are
such as every system takes.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import unicodedata
from collections import Counter
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

POSIX_MODULES = ("fcntl", "grp", "posix", "pty", "pwd", "resource", "syslog", "termios", "tty")
WINDOWS_MODULES = ("_winapi", "msvcrt", "winreg", "winsound")
POSIX_NAMES = {
    "os": (
        "O_DIRECTORY", "O_NOFOLLOW", "O_NONBLOCK", "WEXITSTATUS", "WIFEXITED", "WIFSIGNALED",
        "WTERMSIG", "chown", "fchmod", "fchown", "fork", "forkpty", "getegid", "geteuid", "getgid",
        "getloadavg", "getpgid", "getuid", "killpg", "lchown", "lockf", "mkfifo", "mknod",
        "nice", "openpty", "posix_fadvise", "posix_fallocate", "posix_spawn", "pread", "preadv",
        "pwrite",
        "register_at_fork", "sched_getaffinity", "sched_setaffinity", "sendfile", "setgid",
        "setpgid", "setpriority", "setsid", "setuid", "statvfs", "sysconf", "uname", "wait",
        "wait3", "wait4", "waitid",
    ),
    "select": ("epoll", "kqueue", "poll"),
    "signal": (
        "SIGALRM", "SIGCHLD", "SIGHUP", "SIGKILL", "SIGPIPE", "SIGQUIT", "SIGSTOP", "SIGTSTP",
        "SIGUSR1", "SIGUSR2", "SIGXCPU", "alarm", "pause", "pthread_kill", "pthread_sigmask",
        "setitimer", "sigpending", "sigwait",
    ),
    "time": ("tzset",),
}  # fmt: skip
"""What Windows lacks, or, as ``sched_getaffinity``, macOS."""
FOR_POSIX = {
    "deploy/pipeline/parallel_training.py": "asks whether there is pthread_sigmask",
    "src/edgeq/files/": "locks are left out on Windows, and what they protect is not removed",
    "src/edgeq/machine.py": "asks whether there is getloadavg and sched_getaffinity",
    "src/edgeq/timing/surroundings.py": "counts ticks once Linux's /proc/stat was read",
    "targets/isolation/": "runs where a worker has started; asks whether there is memfd_create",
    "targets/workers/": "a worker is refused by name where there is no poll",
}
"""Where functions may use such names, with the reason."""
_ELSEWHERE = ("TYPE_CHECKING", "sys.platform != 'win32'")
"""Conditions under which nothing is imported on Windows."""
_NAMES = {f"{module}.{name}" for module, names in POSIX_NAMES.items() for name in names}
_OF_INTEREST = re.compile(
    r"\b(?:os|select|signal|time)\.\w|read_text|write_text|open\(|text=True|\bimport (?:"
    + "|".join((*POSIX_MODULES, *WINDOWS_MODULES))
    + ")"
)
_TEXT_MODE = re.compile(r"[rwax+t]+")
# what Windows keeps for devices, whatever the ending, and characters that it has no names with
_RESERVED = re.compile(r"(?i)(con|prn|aux|nul|com\d|lpt\d)(\..*)?|.*[<>:\"|?*\\\x00-\x1f].*|.*[. ]")


@pytest.fixture(scope="module")
def trees(modules: tuple[Path, ...], root: Path) -> dict[str, ast.Module]:
    """The modules in which there may be something to find, by their paths in the checkout."""
    found = {}
    for path in (*modules, *(root / "requirements").glob("*.py"), *(root / "docs").glob("*.py")):
        text = path.read_text(encoding="utf-8")
        if _OF_INTEREST.search(text):
            found[path.relative_to(root).as_posix()] = ast.parse(text)
    return found


def at_import(node: ast.AST) -> Iterator[ast.AST]:
    """What runs when a module is imported: not the bodies of functions, nor types' imports."""
    yield node
    if isinstance(node, ast.If) and ast.unparse(node.test) in _ELSEWHERE:
        return
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
        begins = [*node.args.defaults, *(default for default in node.args.kw_defaults if default)]
        decorators = [] if isinstance(node, ast.Lambda) else node.decorator_list
        children: list[ast.AST] = [*begins, *decorators]
    else:
        children = list(ast.iter_child_nodes(node))
    for child in children:
        if not (isinstance(child, ast.expr) and is_annotation(node, child)):
            yield from at_import(child)


def is_annotation(node: ast.AST, child: ast.expr) -> bool:
    """Whether a node names a type, which no module here looks at while it is imported."""
    return isinstance(node, ast.AnnAssign) and child is node.annotation


def used(nodes: Iterator[ast.AST], of: set[str] | tuple[str, ...]) -> list[str]:
    """Modules that are imported, and names of modules that are used, of those that are given."""
    found = []
    for node in nodes:
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module or "", *(f"{node.module}.{each.name}" for each in node.names)]
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            names = [f"{node.value.id}.{node.attr}"]
        else:
            continue
        found += [f"{name}, line {node.lineno}" for name in names if name in of]
    return found


PLANTED = """
import os, select, signal, sys
if sys.platform != "win32":
    import fcntl
import resource
from os import sysconf
class A:
    event: select.poll
    number = signal.SIGKILL
def f(x=os.getuid()):
    return os.fork()
"""


def test_what_is_planted_is_found() -> None:
    tree = ast.parse(PLANTED)
    names = {*_NAMES, *POSIX_MODULES}
    assert [one.partition(",")[0] for one in used(at_import(tree), names)] == [
        "resource", "os.sysconf", "signal.SIGKILL", "os.getuid",
    ]  # fmt: skip
    assert "os.fork, line 11" in used(ast.walk(tree), names)


def test_no_module_needs_posix_or_windows_to_be_imported(trees: dict[str, ast.Module]) -> None:
    names = {*_NAMES, *POSIX_MODULES, *WINDOWS_MODULES}
    assert len(trees) > 50
    found = {path: used(at_import(tree), names) for path, tree in trees.items()}
    assert {path: what for path, what in found.items() if what} == {}


def test_functions_that_need_posix_are_in_the_places_that_say_why(
    trees: dict[str, ast.Module],
) -> None:
    found = {path: used(ast.walk(tree), {*_NAMES, *POSIX_MODULES}) for path, tree in trees.items()}
    places = {path for path, what in found.items() if what}
    allowed = {place: [p for p in places if p.startswith(place)] for place in FOR_POSIX}
    assert places - {path for paths in allowed.values() for path in paths} == set()
    assert [place for place, paths in allowed.items() if not paths] == []


def test_text_is_read_and_written_in_a_named_encoding(trees: dict[str, ast.Module]) -> None:
    """Windows would take the encoding of its country."""
    assert [
        f"{path}:{node.lineno}"
        for path, tree in trees.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and leaves_the_encoding_open(node)
    ] == []


def leaves_the_encoding_open(call: ast.Call) -> bool:
    """Whether a call reads or writes text, and leaves it to the system how."""
    given = {word.arg: word.value for word in call.keywords}
    if "encoding" in given:
        return False
    asked = given.get("text") or given.get("universal_newlines")
    if isinstance(asked, ast.Constant) and asked.value is True:
        return True
    if isinstance(call.func, ast.Attribute) and call.func.attr in ("read_text", "write_text"):
        return len(call.args) < (1 if call.func.attr == "read_text" else 2)
    if isinstance(call.func, ast.Name) and call.func.id == "open":
        mode = given.get("mode", call.args[1] if len(call.args) > 1 else ast.Constant("r"))
        return isinstance(mode, ast.Constant) and "b" not in str(mode.value)
    if isinstance(call.func, ast.Attribute) and call.func.attr == "open":
        mode = given.get("mode", call.args[0] if call.args else ast.Constant(None))
        return isinstance(mode, ast.Constant) and bool(_TEXT_MODE.fullmatch(str(mode.value)))
    return False


def test_every_system_takes_the_names_of_our_files(tracked: tuple[Path, ...], root: Path) -> None:
    names = [path.relative_to(root).as_posix() for path in tracked]
    parts = {part for name in names for part in PurePosixPath(name).parts}
    assert sorted(part for part in parts if _RESERVED.fullmatch(part)) == []
    assert [name for name in names if unicodedata.normalize("NFC", name) != name] == []
    assert [name for name in names if len(name) > 150] == []  # of 260 on Windows
    alike = Counter(name.casefold() for name in names)  # one file on both systems
    assert [name for name, count in alike.items() if count > 1] == []


IMPORT_ALL = """
import importlib, os, pkgutil, select, signal, sys, time, warnings
# which have forms of their own for Windows
import asyncio, concurrent.futures.process, ctypes, multiprocessing.context, subprocess, tempfile
import accelerate, ai_edge_litert.interpreter, numpy, onnx, onnx_ir, onnxruntime, torch, typer
warnings.simplefilter("ignore")
modules = [name for name in sys.argv[1].split() if name not in sys.modules]
for name in sys.argv[2].split():
    module, _, attribute = name.partition(".")
    vars(sys.modules[module]).pop(attribute, None)
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name in modules:
            raise ModuleNotFoundError(f"no module {name}, as on Windows", name=name)
sys.meta_path.insert(0, Absent())
sys.platform = "win32"
import edgeq
left = ("edgeq.targets.workers.engines.", "edgeq.targets.workers.serve")  # sent to workers
failed, count = [], 0
for found in pkgutil.walk_packages(edgeq.__path__, "edgeq."):
    if found.name.startswith(left) or found.name.endswith("__main__"):
        continue
    count += 1
    try:
        importlib.import_module(found.name)
    except Exception as error:
        failed.append(f"{found.name}: {error!r}")
print(count, *failed, sep="\\n")
"""


@pytest.mark.slow
def test_every_module_is_imported_without_what_windows_lacks() -> None:
    said = subprocess.run(
        [sys.executable, "-c", IMPORT_ALL, " ".join(POSIX_MODULES), " ".join(_NAMES)],
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    count, *failed = said.stdout.splitlines() or [said.stderr]
    assert failed == []
    assert int(count) > 400
