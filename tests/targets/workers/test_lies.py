"""A worker that breaks the protocol, or speaks another, is caught at its first frame."""

from __future__ import annotations

import ast
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from edgeq.errors import EdgeqError, TargetError
from edgeq.targets.workers import program, wire

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from edgeq.targets.workers.target import WorkerTarget

    Make = Callable[..., WorkerTarget]

PRELUDE = f"""
import importlib.util, json, os, struct, sys, time
spec = importlib.util.spec_from_file_location("wire", {wire.__file__!r})
wire = importlib.util.module_from_spec(spec)
sys.modules["wire"] = wire
spec.loader.exec_module(wire)
source = sys.stdin.buffer
source.read(int(source.readline()))
def say(header, arrays=()):
    for piece in wire.pack(header, arrays):
        sys.stdout.buffer.write(piece)
    sys.stdout.buffer.flush()
def hear():
    return wire.unpack(source.read1)
import numpy as np
TENSOR = dict(name="input", shape=[1, 3, 8, 8], dtype="float32")
"""
LOADED = """
say(dict(ok=True)); hear()
say(dict(ok=True, inputs=[TENSOR], outputs=[dict(TENSOR, name="output")], facts={}))
"""


@dataclass(frozen=True, slots=True)
class Liar:
    """Starts another program than it is given."""

    script: str

    @property
    def place(self) -> str:
        return "a liar"

    def command(self, arguments: Sequence[str]) -> list[str]:
        return [sys.executable, "-c", PRELUDE + self.script]

    def missing(self) -> tuple[str, str] | None:
        return None


@pytest.mark.parametrize(
    ("script", "words"),
    [
        (
            "wire.VERSION += 1; say(dict(ok=True)); hear()",
            f"speaks version {wire.VERSION + 1} of the protocol, and this is",
        ),
        (
            "print('Welcome to the board, stranger!'); time.sleep(60)",
            r"begins with b'Welcome ', which is no message[\s\S]*print at login",
        ),
        (
            (
                "sys.stdout.buffer.write(struct.pack('<8sIIQ', wire.MAGIC, 1, 2**31, 0)); "
                "sys.stdout.flush(); hear()"
            ),
            "announces 2147483648 and 0",
        ),
        (
            (
                "sys.stdout.buffer.write(struct.pack('<8sIIQ', wire.MAGIC, 1, 2, 2**62)); "
                "sys.stdout.flush(); hear()"
            ),
            "it announces 2 and",
        ),
        (
            "sys.stdout.buffer.write(wire.MAGIC[:3]); sys.stdout.flush(); sys.exit(7)",
            "ended with exit code 7 before it began",
        ),
        ("pass", r"ended with exit code 0 before it began[\s\S]*try it by hand: "),
        (
            "raise SystemError('no numpy here')",
            r"ended with exit code 1 before it began; it last wrote: [\s\S]*no numpy here",
        ),
        ("say(dict(ok=False, problem=[1], what={}))", "failed: {}"),
        ("say(dict(ok='yes'))", "failed: it does not say why"),
        (
            "say(dict(ok=True)); hear(); say(dict(ok=True))",
            "has no input, or no output",
        ),
        (
            "say(dict(ok=True)); hear(); say(dict(ok=True, inputs=[7], outputs=[7]))",
            "describes a tensor as 7",
        ),
        (
            (
                "say(dict(ok=True)); hear(); say(dict(ok=True, inputs=[dict(TENSOR, "
                "dtype='object')], outputs=[TENSOR]))"
            ),
            "describes a tensor as",
        ),
        (
            (
                "say(dict(ok=True)); hear(); say(dict(ok=True, inputs=[dict(TENSOR, "
                "shape='x')], outputs=[TENSOR]))"
            ),
            "describes a tensor as",
        ),
        (
            (
                "say(dict(ok=True)); hear(); say(dict(ok=True, inputs=[dict(TENSOR, shape=[2, "
                "3])], outputs=[TENSOR]))"
            ),
            "not a batch of one",
        ),
        (
            "say(dict(ok=True)); hear(); say(dict(ok=True), [np.zeros(9)])",
            "announces .* and 72 bytes, and may have",
        ),
        (
            (
                "say(dict(ok=True)); hear(); say(dict(ok=True, inputs=[dict(TENSOR, "
                "dtype='int8', scale=[-1.0])], outputs=[TENSOR]))"
            ),
            "describes a grid as",
        ),
        (
            (
                "say(dict(ok=True)); hear(); say(dict(ok=True, inputs=[dict(TENSOR, "
                "dtype='int8', scale=7)], outputs=[TENSOR]))"
            ),
            "describes a grid as",
        ),
    ],
)
def test_a_lie_while_opening(make: Make, model: Path, script: str, words: str) -> None:
    with pytest.raises(EdgeqError, match=words) as caught:
        make(launcher=Liar(script)).open(model)
    assert "hint: " in str(caught.value)


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("hear(); say(dict(ok=True))", "answers with 0 arrays"),
        (
            "hear(); say(dict(ok=True), [np.zeros((1, 3, 8, 8), np.float32)] * 2)",
            "garbage: it announces",
        ),
        ("hear(); say(dict(ok=True), [np.zeros((3, 8, 8, 1), np.float32)])", "where it announced"),
        (
            (
                "hear(); sys.stdout.buffer.write(b'INFO: created a delegate, with a long line "
                "of text'); sys.stdout.flush(); hear()"
            ),
            "no message",
        ),
        (
            "hear(); sys.stdout.buffer.write(wire.pack(dict(ok=True))[0][:30]); sys.stdout.flush()",
            "ended with exit code 0",
        ),
        ("hear(); os.close(1); time.sleep(60)", "closed its output"),
    ],
)
def test_a_lie_while_running(make: Make, model: Path, script: str, words: str) -> None:
    with (
        make(launcher=Liar(LOADED + script)).open(model) as session,
        pytest.raises(TargetError, match=words),
    ):
        session.run(np.zeros((1, 3, 8, 8), np.float32))


TRICKLE = """
hear()
frame = wire.pack(dict(ok=True, names=["a"]), [np.zeros({size}, np.int8)])
content = b"".join(bytes(piece) for piece in frame)
for at in range(0, len(content), {piece}):
    os.write(1, content[at : at + {piece}])
    time.sleep(0.1)
hear()
"""


def test_a_trickle_is_no_answer_and_a_slow_line_is(make: Make, model: Path) -> None:
    image = np.zeros((1, 3, 8, 8), np.float32)
    slow = make(launcher=Liar(LOADED + TRICKLE.format(size=2**20, piece=2**17)), seconds=0.5)
    with slow.open(model, intermediates=True) as session:
        assert np.asarray(session.tensors(image)["a"]).shape == (1, 2**20)
    trickle = make(launcher=Liar(LOADED + TRICKLE.format(size=2**20, piece=100)), seconds=0.5)
    with (
        trickle.open(model, intermediates=True) as session,
        pytest.raises(TargetError, match=r"within 0\.5 s"),
    ):
        session.tensors(image)


@pytest.mark.parametrize(
    "took", ["np.array([], np.int64)", "np.array([-5])", "np.array([1.5])", "np.array([[5]])"]
)
def test_durations_that_cannot_be(make: Make, model: Path, took: str) -> None:
    session = make(launcher=Liar(f"{LOADED}hear(); say(dict(ok=True), [{took}])")).open(model)
    with session, pytest.raises(TargetError, match="durations that are none"):
        session.invoke_ns(0)


def test_tensors_without_names(make: Make, model: Path) -> None:
    script = f"{LOADED}hear(); say(dict(ok=True, names=['a']), [])"
    with (
        make(launcher=Liar(script)).open(model, intermediates=True) as session,
        pytest.raises(TargetError, match="without names"),
    ):
        session.tensors(np.zeros((1, 3, 8, 8), np.float32))


def test_an_engine_that_is_not_there(model: Path, make: Make) -> None:
    with pytest.raises(TargetError, match=r"no worker engine 'nope'[\s\S]*choose one of .*tflite"):
        replace(make(), engine="nope").open(model)


def test_engines_run_on_old_pythons() -> None:
    room = Path(wire.__file__).parent
    for path in (
        *(room / f"{name}.py" for name in program.SHARED),
        *(room / "engines").glob("*.py"),
    ):
        tree = ast.parse(path.read_text("utf-8"), feature_version=(3, 9))
        first = [node.module for node in tree.body if isinstance(node, ast.ImportFrom)][:1]
        assert first in (["__future__"], [])
        ours = {
            node.module
            for node in ast.walk(tree)
            if isinstance(node, ast.ImportFrom) and str(node.module).startswith("edgeq")
        }
        assert ours <= {f"edgeq.targets.workers.{name}" for name in program.SHARED}, path
