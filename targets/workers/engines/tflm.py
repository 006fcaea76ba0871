"""TensorFlow Lite Micro's interpreter and its use of the arena.

With its reference kernels, built for the machine at hand.

The interpreter may end its process where an arena is too small. So a model runs in one that is
certainly large enough, of which the system hands out only the pages that are touched. Whether it
fits into a smaller one is tried in a child process, because what the interpreter records of its use
leaves out what it takes for a while as it loads.
"""

from __future__ import annotations

import faulthandler
import os
import re
import struct
import sys
import tempfile
from contextlib import contextmanager
from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeq.targets.workers.wire import Damaged, Refused

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

ROOMY = (2**24, 2**27, 2**30)  # bytes, tried in turn; the interpreter takes none of 2^31
_MORE = (0, *(2**k for k in range(6, 21)))  # bytes beyond what stays in use, tried in turn
_SIZE = re.compile(r"Arena allocation (total|head|tail) (\d+) bytes")
_TOO_SMALL = re.compile(r"Failed to (resize buffer|allocate (tail|temp) memory)")
_NO_KERNEL = re.compile(r"Didn't find op for builtin opcode '?(\w+)'?")
_FAILED = re.compile(r"Node (\w+) \(number (\d+)\w?\) failed to (?:prepare|invoke)")


def versions() -> dict[str, str]:
    """The package's version."""
    from importlib.metadata import version

    from tflite_micro.python.tflite_micro import runtime  # noqa: F401  an installed package may still fail to load

    return {"tflite-micro": version("tflite-micro")}


class Engine:
    """One model.

    Args:
        model: a TFLite file.
        options: ``arena_bytes`` is the size of the arena, None for as much as the model needs;
            ``intermediates`` keeps every tensor, which takes a larger one. The interpreter has one
            thread, whatever ``threads`` says.
    """

    def __init__(self, model: bytes, options: dict[str, Any]) -> None:
        from tflite_micro.python.tflite_micro import runtime

        config, graph = runtime.InterpreterConfig, _Graph(model)
        recording = _load(runtime, model, config.kAllocationRecording)
        with _listening() as heard:
            recording.print_allocations()
        recorded = {kind: int(size) for kind, size in _SIZE.findall(heard.text)}
        self.facts = _facts(
            recorded, _arena(runtime, model, recorded["total"], options.get("arena_bytes"))
        )
        self._interpreter = (
            _load(runtime, model, config.kPreserveAllTensors)
            if options.get("intermediates")
            else recording
        )
        self._shown, self.grids = graph.shown, graph.grids
        self.inputs = [
            _described(name, self._interpreter.get_input_details(i))
            for i, name in enumerate(graph.inputs)
        ]
        self.outputs = [
            _described(name, self._interpreter.get_output_details(i))
            for i, name in enumerate(graph.outputs)
        ]

    def set_input(self, sample: NDArray[Any], index: int = 0) -> None:
        """Keep an input, with its batch of one, and forget with the first what came before it."""
        if index == 0:
            self._interpreter.reset()  # variables and resource variables
        self._interpreter.set_input(np.ascontiguousarray(sample), index)

    def invoke(self) -> None:
        """Run once."""
        self._interpreter.invoke()

    def get_output(self, index: int = 0) -> NDArray[Any]:
        """An output of the last run."""
        values: NDArray[Any] = self._interpreter.get_output(index)
        return values

    def tensors(self) -> dict[str, NDArray[Any]]:
        """The input and every operator's quantised or float output, as executed."""
        found = {name: self._interpreter.GetTensor(index, 0) for name, index in self._shown.items()}
        return {
            name: np.asarray(one["tensor_data"]).reshape(one["shape"])
            for name, one in found.items()
        }


def _load(runtime: Any, model: bytes, config: Any) -> Any:
    """An interpreter that has run once, in the first arena that is large enough."""
    for arena in ROOMY:
        with _listening() as heard:
            try:
                return _started(runtime, model, config, arena)
            except RuntimeError:
                pass
        if not _TOO_SMALL.search(heard.text):
            raise Refused(_why(heard.text))
    raise Refused(f"it needs an arena of more than {ROOMY[-1]} bytes")


def _started(runtime: Any, model: bytes, config: Any, arena: int) -> Any:
    interpreter = runtime.Interpreter.from_bytes(model, arena_size=arena, intrepreter_config=config)
    for index in range(_count_inputs(model)):
        detail = interpreter.get_input_details(index)
        interpreter.set_input(np.zeros(detail["shape"], detail["dtype"]), index)
    interpreter.invoke()  # some kernels look at types only now
    return interpreter


def _count_inputs(model: bytes) -> int:
    schema: Any = import_module("tflite_micro.tensorflow.lite.micro.python.schema_py_generated")
    return int(schema.Model.GetRootAs(model, 0).Subgraphs(0).InputsLength())


def _arena(runtime: Any, model: bytes, recorded: int, given: int | None) -> int:
    """The size of an arena that the model runs in.

    The given one, or from what was recorded on the first that does.
    """
    if given is not None and not (isinstance(given, int) and given > 0):
        raise Refused(f"arena_bytes = {given!r} is no number of bytes")
    sizes = [recorded + more for more in _MORE] if given is None else [given]
    for size in sizes:
        if size >= recorded and _fits(runtime, model, size):
            return size
    raise Refused(
        f"it needs an arena of {recorded} bytes or a little more, and {sizes[-1]} are given"
    )


def _fits(runtime: Any, model: bytes, arena: int) -> bool:
    """Whether a model loads and runs in an arena.

    A child finds out, since it may not survive that.
    """
    child = os.fork()
    if child == 0:
        code = 1
        try:
            faulthandler.disable()  # its end is an answer here
            os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
            _started(runtime, model, runtime.InterpreterConfig.kAllocationRecording, arena)
            code = 0
        finally:
            os._exit(code)
    return os.waitpid(child, 0)[1] == 0


def _why(said: str) -> str:
    """What keeps a model from running, with the operator's name."""
    missing = _NO_KERNEL.search(said)
    if missing:
        return f"TensorFlow Lite Micro has no kernel for {missing[1]}"
    failed = _FAILED.search(said)
    lines = [
        line.strip() for line in said.splitlines() if line.strip() and not _FAILED.search(line)
    ]
    reason = lines[-1] if lines else "it does not say why"
    return f"{failed[1]}, its operator {failed[2]}: {reason}" if failed else reason


def _facts(recorded: dict[str, int], arena: int) -> dict[str, str]:
    bits = sys.maxsize.bit_length() + 1
    return {
        "kernels": "TensorFlow Lite Micro's reference kernels, built for this machine",
        "arena_bytes": str(arena),
        "arena_used_bytes": str(recorded["total"]),
        "arena_use": f"{recorded['head']} bytes of activations, {recorded['tail']} that stay, with "
        f"pointers of {bits} bits",
    }


class _Graph:
    """Names and grids, which the interpreter does not tell.

    Attributes:
        inputs: their names.
        outputs: their names.
        shown: the readable tensors by name, with their numbers.
        grids: those of them that have one, by name.
    """

    def __init__(self, model: bytes) -> None:
        # generated and half typed
        schema: Any = import_module("tflite_micro.tensorflow.lite.micro.python.schema_py_generated")
        try:
            whole = schema.ModelT.InitFromObj(schema.Model.GetRootAs(model, 0))
            graph = whole.subgraphs[0]
            operators = [] if graph.operators is None else graph.operators
            codes = [
                whole.operatorCodes[operator.opcodeIndex].builtinCode for operator in operators
            ]
        except (
            struct.error,
            LookupError,
            TypeError,
            ValueError,
            AttributeError,
            OverflowError,
        ) as error:
            raise Damaged(f"{type(error).__name__} while reading its tables") from error
        self._kinds = {
            number: name.lower()
            for name, number in vars(schema.TensorType).items()
            if not name.startswith("_")
        }
        self._tensors = graph.tensors
        for number in (
            i
            for i, code in enumerate(codes)
            if code == schema.BuiltinOperator.UNIDIRECTIONAL_SEQUENCE_LSTM
        ):
            self._refuse_misread(number, operators[number])
        self.inputs, self.outputs = (
            [self._name(index) for index in graph.inputs],
            [self._name(index) for index in graph.outputs],
        )
        self.shown: dict[str, int] = {}
        self.grids: dict[str, dict[str, Any]] = {}
        for index in (
            *graph.inputs,
            *(index for operator in operators for index in _list(operator.outputs)),
        ):
            self._show(int(index))

    def _refuse_misread(self, number: int, lstm: Any) -> None:
        """Refuse what the kernel takes and reads as something else.

        Integer weights of a cell in float.
        """
        x, weights = (self._kinds[self._tensors[lstm.inputs[i]].type] for i in (0, 2))
        if x == "float32" and weights != x:
            raise Refused(
                f"UNIDIRECTIONAL_SEQUENCE_LSTM, its operator {number}: Input type: {x} "
                f"with weights of type: {weights} not supported."
            )

    def _show(self, index: int) -> None:
        tensor, name = self._tensors[index], self._name(index)
        kind, grid = self._kinds[tensor.type], _grid(tensor.quantization)
        if not grid and kind != "float32":
            return
        name = name if name not in self.shown else f"{name}#{index}"
        self.shown[name] = index
        if grid:
            self.grids[name] = {"dtype": kind, "shape": _list(tensor.shape), **grid}

    def _name(self, index: int) -> str:
        name = self._tensors[index].name
        return name.decode(errors="replace") if isinstance(name, bytes) else str(name or "")


def _grid(grid: Any) -> dict[str, Any]:
    """A tensor's grid in plain values; empty where it has none."""
    if grid is None or not _list(grid.scale):
        return {}
    return {
        "scale": _list(grid.scale),
        "zero_point": _list(grid.zeroPoint),
        "axis": grid.quantizedDimension,
    }


def _list(values: Any) -> list[Any]:
    return [] if values is None else np.asarray(values).tolist()


def _described(name: str, detail: dict[str, Any]) -> dict[str, Any]:
    grid = detail["quantization_parameters"]
    described = {
        "name": name,
        "shape": [int(size) for size in detail["shape"]],
        "dtype": np.dtype(detail["dtype"]).name,
    }
    return {
        **described,
        "scale": grid["scales"].tolist(),
        "zero_point": grid["zero_points"].tolist(),
        "axis": grid["quantized_dimension"],
    }


class _Heard:
    """What was said while :func:`_listening`."""

    text = ""


@contextmanager
def _listening() -> Iterator[_Heard]:
    """Keep what the interpreter writes to file descriptor 2, from C++."""
    heard, saved = _Heard(), os.dup(2)
    with tempfile.TemporaryFile() as caught:
        os.dup2(caught.fileno(), 2)
        try:
            yield heard
        finally:
            os.dup2(saved, 2)
            os.close(saved)
            caught.seek(0)
            heard.text = caught.read().decode(errors="replace")
