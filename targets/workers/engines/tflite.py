"""LiteRT, tflite-runtime or TensorFlow's tf.lite.

One interpreter under three names, with any of its kernel sets.
"""

from __future__ import annotations

from collections import Counter
from functools import partial
from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeq.targets.workers.wire import Damaged, Refused

if TYPE_CHECKING:
    from numpy.typing import NDArray

_PACKAGES = {  # module → what pip calls it, in order of preference
    "ai_edge_litert.interpreter": "ai-edge-litert",
    "tflite_runtime.interpreter": "tflite-runtime",
    "tensorflow.lite.python.interpreter": "tensorflow",
}
_DELEGATE = "DELEGATE"
_INTEGERS = (np.int8, np.uint8, np.int16, np.uint16, np.int32)
_UNKNOWN = "Didn't find op for builtin opcode"
_WITH_STATE = (
    "VAR_HANDLE",
    "READ_VARIABLE",
    "ASSIGN_VARIABLE",
    "RANDOM_STANDARD_NORMAL",
    "RANDOM_UNIFORM",
    "MULTINOMIAL",
    "HASHTABLE",
)
_WITH_SUBGRAPHS = ("CALL_ONCE", "CALL", "IF", "WHILE", "STABLEHLO_COMPOSITE", "STABLEHLO_WHILE")
# what nothing but a new interpreter resets, or may hide such in a subgraph
_KEEPING = frozenset((*_WITH_STATE, *_WITH_SUBGRAPHS))
RESOLVERS = {
    "xnnpack": "AUTO",
    "builtin": "BUILTIN_WITHOUT_DEFAULT_DELEGATES",
    "reference": "BUILTIN_REF",
}
"""Kernel set → member of the interpreter's ``OpResolverType``."""


def versions(module: str = "") -> dict[str, str]:
    """The first package that is installed, or that of the named module.

    Raises:
        ImportError: none is.
    """
    name, _ = _find(module)
    distribution = _PACKAGES[name]
    try:
        return {distribution: version(distribution)}
    except Exception:  # noqa: BLE001  tensorflow-cpu and other builds of it are distributions of other names
        return {
            distribution: str(
                getattr(import_module(name.split(".", 1)[0]), "__version__", "unknown")
            )
        }


class Engine:
    """One model in an interpreter.

    What the model keeps from one inference to the next is reset for every sample.

    Args:
        model: the TFLite file.
        options: ``kernels`` (xnnpack, builtin or reference; xnnpack), ``module`` (which package;
            the first found), ``threads``, ``intermediates``, ``batch`` (default 1).
    """

    def __init__(self, model: bytes, options: dict[str, Any]) -> None:
        kernels, keep = str(options.get("kernels", "xnnpack")), bool(options["intermediates"])
        name, module = _find(str(options.get("module", "")))
        threads, batch = int(options["threads"]), int(options.get("batch", 1))
        self._model, self._settings, self._module = model, (kernels, threads), name
        self._new = partial(_start, module, model, kernels, threads, keep=keep, batch=batch)
        self._interpreter = self._new()
        inputs, outputs = (
            self._interpreter.get_input_details(),
            self._interpreter.get_output_details(),
        )
        self._entering, self._exits = ([one["index"] for one in ends] for ends in (inputs, outputs))
        self.inputs, self.outputs = (
            [described(one) for one in inputs],
            [described(one) for one in outputs],
        )
        operators = self._interpreter._get_ops_details()  # the only way to learn what runs
        _refuse_corrupting(operators, self._interpreter.get_tensor_details())
        self._keeps = any(op["op_name"] in _KEEPING for op in operators)
        self.facts = {
            "interpreter": _PACKAGES[name],
            "kernels": kernels,
            **running(operators, delegate=kernels == "xnnpack"),
        }
        self.layers = [{"index": index} for index in sorted(delegated(operators))]
        self._shown = shown(self._interpreter, operators, self._entering) if keep else {}
        self.grids = {key: described(detail) for key, detail in self._shown.items()}

    def set_input(self, sample: NDArray[Any], index: int = 0) -> None:
        """Keep an input, and forget with the first what came before it."""
        if index == 0 and self._keeps:
            self._interpreter = self._new()
        elif index == 0:
            self._interpreter.reset_all_variables()
        self._interpreter.set_tensor(self._entering[index], sample)

    def invoke(self) -> None:
        """Run once."""
        self._interpreter.invoke()

    def operator_times(self, runs: int) -> list[dict[str, Any]]:
        """What each operator takes on the inputs set; see :mod:`~.workers.litert_profiler`.

        Raises:
            Refused: this version of the interpreter has none.
        """
        from edgeq.targets.workers.litert_profiler import operator_times

        if "litert" not in self._module:
            raise Refused("only LiteRT has a profiler, under its present name")
        inputs = self._interpreter.get_input_details()
        outputs = self._interpreter.get_output_details()
        values = [self._interpreter.get_tensor(one["index"]) for one in inputs]
        return operator_times(self._model, self._settings, inputs, outputs, values, runs)

    def get_output(self, index: int = 0) -> NDArray[Any]:
        """An output of the last run."""
        values: NDArray[Any] = self._interpreter.get_tensor(self._exits[index])
        return values

    def tensors(self) -> dict[str, NDArray[Any]]:
        """The input and every operator's output, in order of execution."""
        return {
            name: self._interpreter.get_tensor(detail["index"])
            for name, detail in self._shown.items()
        }


def described(detail: Any) -> dict[str, Any]:
    """A tensor as the host wants it told."""
    grid = detail["quantization_parameters"]
    return {
        "name": detail["name"],
        "shape": [int(size) for size in detail["shape"]],
        "dtype": np.dtype(detail["dtype"]).name,
        "scale": [float(scale) for scale in grid["scales"]],
        "zero_point": [int(zero) for zero in grid["zero_points"]],
        "axis": int(grid["quantized_dimension"]),
    }


def running(operators: Any, *, delegate: bool) -> dict[str, str]:
    """What really runs.

    Raises:
        Refused: XNNPACK was asked for and took nothing, so other kernels would run in its place.
    """
    own = [op for op in operators if op["op_name"] != _DELEGATE]
    facts = {"operators": counted(op["op_name"] for op in own)}
    if not delegate:
        return facts
    partitions = len(operators) - len(own)
    if not partitions:
        raise Refused("XNNPACK takes no operator of it")
    inside = delegated(operators)
    left = counted(op["op_name"] for op in own if op["index"] not in inside)
    facts["delegate"] = (
        f"XNNPACK took {len(inside)} of {len(own)} operators in {partitions} partitions; "
        f"left: {left or 'none'}"
    )
    return facts


def delegated(operators: Any) -> set[int]:
    """The operators inside the partitions of a delegate.

    Told by what each partition reads and what others read of it.
    """
    own = [op for op in operators if op["op_name"] != _DELEGATE]
    partitions = [op for op in operators if op["op_name"] == _DELEGATE]
    return {
        index
        for partition in partitions
        for index in _inside(own, _numbers(partition["inputs"]), _numbers(partition["outputs"]))
    }


def _inside(own: Any, entering: set[int], leaving: set[int]) -> set[int]:
    """The operators of one partition, given the tensors that enter and leave it.

    Constants are among those that enter.
    """
    known, found = set(entering), {}
    for op in own:
        makes = _numbers(op["outputs"])
        # what reads nothing may be anywhere else
        starts = not _numbers(op["inputs"]) and (not makes or makes & entering)
        if _numbers(op["inputs"]) <= known and not starts and not makes & entering:
            found[op["index"]] = op
            known |= makes
    while True:
        readers = [_numbers(op["inputs"]) for op in own if op["index"] not in found]
        inner = set().union(*(_numbers(op["inputs"]) for op in found.values()))
        outside = set().union(*readers)
        wrong = [
            i
            for i, op in found.items()
            if any(t in outside or t not in inner for t in _numbers(op["outputs"]) - leaving)
        ]
        if not wrong:
            return set(found)
        for index in wrong:
            del found[index]


def _numbers(tensors: Any) -> set[int]:
    """The tensors of a list, those left out not among them."""
    return {int(tensor) for tensor in tensors if tensor >= 0}


def shown(interpreter: Any, operators: Any, entering: list[int]) -> dict[str, Any]:
    """The inputs and every operator's quantised or float output, by name, as executed."""
    details = {detail["index"]: detail for detail in interpreter.get_tensor_details()}
    found: dict[str, Any] = {}
    for index in (*entering, *(int(tensor) for op in operators for tensor in op["outputs"])):
        detail = details[index]
        kind = np.dtype(detail["dtype"])
        if kind == np.float32 or (
            kind in _INTEGERS and len(detail["quantization_parameters"]["scales"])
        ):
            name = detail["name"] if detail["name"] not in found else f"{detail['name']}#{index}"
            found[name] = detail
    return found


def counted(names: Any) -> str:
    """Operators with how often each stands there, most frequent first."""
    return ", ".join(
        f"{name} {n}"
        for name, n in sorted(Counter(names).items(), key=lambda item: (-item[1], item[0]))
    )


def _refuse_corrupting(operators: Any, details: Any) -> None:
    """Refuse what this interpreter computes beyond the memory that it gave to a tensor.

    A crash then or later, or wrong numbers.
    """
    kinds = {detail["index"]: np.dtype(detail["dtype"]) for detail in details}
    for op in operators:
        x, state = (
            (kinds.get(int(op["inputs"][i])) for i in (0, 4))
            if op["op_name"] == "SVDF" and len(op["inputs"]) > 4
            else (None, None)
        )
        if x == np.int8 and state != np.int16:
            raise Refused(
                f"SVDF, its operator {op['index']}, keeps its state in {state}, and the "
                "kernel writes int16 there"
            )


def _find(wanted: str) -> tuple[str, Any]:
    first: Exception | None = None
    for name in [wanted] if wanted else list(_PACKAGES):
        try:
            return name, import_module(name)
        except Exception as error:  # noqa: BLE001  a broken native library raises anything at import
            first = first or error
    raise ImportError(str(first))


def _start(
    module: Any, model: bytes, kernels: str, threads: int, *, keep: bool, batch: int = 1
) -> Any:
    try:
        interpreter = module.Interpreter(
            model_content=model,
            num_threads=threads,
            experimental_op_resolver_type=module.OpResolverType[RESOLVERS[kernels]],
            experimental_preserve_all_tensors=keep,
        )
        _resize(interpreter, batch)
        interpreter.allocate_tensors()
    except ValueError as error:
        unknown = _UNKNOWN in str(error)  # an interpreter older than the file
        raise (Refused if unknown else Damaged)(str(error)) from error
    except RuntimeError as error:
        raise Refused(str(error)) from error
    return interpreter


def _resize(interpreter: Any, batch: int) -> None:
    """Let the inputs hold a batch of more than one.

    Raises:
        Refused: the model is made for one.
    """
    if batch == 1:
        return
    for one in interpreter.get_input_details():
        interpreter.resize_tensor_input(one["index"], [batch, *one["shape"][1:]])
    try:
        interpreter.allocate_tensors()
    except (RuntimeError, ValueError) as error:
        raise Refused("its batch is fixed at 1") from error
    if any(one["shape"][0] != batch for one in interpreter.get_output_details()):
        raise Refused("its batch is fixed at 1")
