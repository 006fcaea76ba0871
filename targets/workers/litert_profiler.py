"""How long each operator takes in LiteRT, by its own profiler.

LiteRT offers the profiler in C only. It sees into the XNNPACK delegate too.
"""

from __future__ import annotations

import ctypes
import re
import statistics
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeq.targets.workers.wire import Refused

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Runs before the first, and runs of an average: few, since one of them that lost the processor
# spoils it.
WARM_UP, AVERAGED = 3, 4
_CPU = 1
_KERNELS = {"xnnpack": 0, "builtin": 2}
_KINDS = {"float32": 1, "int32": 2, "uint8": 3, "int64": 4, "bool": 6, "int16": 7, "int8": 9}
_MOST_AXES = 8
# type, five columns of numbers, memory, how often, name
_ROW = re.compile(
    r"^\s*(\S.*?)\s+[\d.]+\s+[\d.]+\s+([\d.]+)\s+[\d.]+%\s+[\d.]+%\s+[\d.]+\s+\d+\s+(\S.*)$"
)


class _Layout(ctypes.Structure):
    _fields_ = (
        ("rank", ctypes.c_uint32, 7),
        ("strided", ctypes.c_uint32, 1),
        ("sizes", ctypes.c_int32 * _MOST_AXES),
        ("strides", ctypes.c_uint32 * _MOST_AXES),
    )


class _TensorType(ctypes.Structure):
    _fields_ = (("kind", ctypes.c_int), ("layout", _Layout))


def operator_times(
    model: bytes,
    settings: tuple[str, int],
    inputs: list[Any],
    outputs: list[Any],
    values: list[NDArray[Any]],
    runs: int,
) -> list[dict[str, Any]]:
    """Time each operator of a model.

    Args:
        model: the TFLite file.
        settings: the kernel set, and how many threads it may use.
        inputs: its inputs, as the interpreter details them.
        outputs: its outputs, likewise.
        values: of the inputs.
        runs: how many runs; the median is of averages of four.

    Returns:
        In the order of execution: ``name``, ``kind``, ``ms``, ``provider``.

    Raises:
        Refused: this version of LiteRT has no such profiler, or not for these kernels.
    """
    if settings[0] not in _KERNELS:
        raise Refused(f"LiteRT's profiler does not run its {settings[0]} kernels")
    library = _Library()
    batches = []
    for _ in range(runs // AVERAGED):
        compiled = library.compiled(model, *settings)  # its profiler never forgets what it saw
        entering = library.buffers(compiled, "Input", inputs, values)
        leaving = library.buffers(compiled, "Output", outputs, [])
        library.run(compiled, entering, leaving, WARM_UP)
        profiler = library.made("LiteRtCompiledModelGetProfiler", compiled)
        library.call("LiteRtStartProfiler", profiler)
        library.run(compiled, entering, leaving, AVERAGED)
        library.call("LiteRtStopProfiler", profiler)
        summary = ctypes.c_char_p()
        library.call("LiteRtGetProfileSummary", profiler, compiled, ctypes.byref(summary))
        batches.append(rows_of((summary.value or b"").decode(errors="replace")))
        library.call("LiteRtDestroyCompiledModel", compiled)
    return _medians(batches)


def rows_of(summary: str) -> list[tuple[str, str, float]]:
    """Type, name and average ms of each operator, in the order of execution."""
    whole = summary.partition("Run Order")[2].partition("Top by Computation Time")[0]
    found = [row for row in map(_ROW.match, whole.splitlines()) if row]
    return [(row.group(1), row.group(3).strip(), float(row.group(2))) for row in found]


def _medians(batches: list[list[tuple[str, str, float]]]) -> list[dict[str, Any]]:
    """The median of each operator, of those batches that list the same ones as the last."""
    last = batches[-1]
    if not last:
        raise Refused("LiteRT's profiler names no operator")
    alike = [one for one in batches if [row[:2] for row in one] == [row[:2] for row in last]]
    return [
        {
            "name": f"{kind.rpartition('/')[2]} {place}",
            "kind": kind.rpartition("/")[2],
            "provider": "XNNPACK" if kind.startswith("Delegate/") else "LiteRT",
            "ms": statistics.median(one[place][2] for one in alike),
        }
        for place, (kind, _, _) in enumerate(last)
    ]


class _Library:
    """LiteRT's functions; each answers with a status, 0 for success."""

    def __init__(self) -> None:
        try:
            import ai_edge_litert

            folder = Path(ai_edge_litert.__file__).parent
            self._library = ctypes.CDLL(str(folder / "libLiteRt.so"))
        except (ImportError, OSError) as error:
            raise Refused(f"there is no profiler: {error}") from error
        self._kept: list[Any] = []  # what LiteRT only points to
        self._environment = self.made("LiteRtCreateEnvironment", ctypes.c_int(0), None)

    def call(self, name: str, *arguments: Any) -> None:
        """Call a function.

        Raises:
            Refused: it is missing, or failed.
        """
        function = getattr(self._library, name, None)
        if function is None:
            raise Refused(f"this LiteRT has no {name}")
        function.restype = None if name.startswith("LiteRtDestroy") else ctypes.c_int
        status = function(*arguments)
        if status:
            raise Refused(f"{name} failed with status {status}")

    def run(self, compiled: ctypes.c_void_p, entering: Any, leaving: Any, times: int) -> None:
        """Run a model on its buffers."""
        for _ in range(times):
            self.call(
                "LiteRtRunCompiledModel",
                compiled,
                ctypes.c_size_t(0),
                ctypes.c_size_t(len(entering)),
                entering,
                ctypes.c_size_t(len(leaving)),
                leaving,
            )

    def made(self, name: str, *arguments: Any) -> ctypes.c_void_p:
        """What a function makes, which its last argument receives."""
        result = ctypes.c_void_p()
        self.call(name, *arguments, ctypes.byref(result))
        return result

    def compiled(self, model: bytes, kernels: str, threads: int) -> ctypes.c_void_p:
        """A model that is ready to run, and to be profiled."""
        content = ctypes.create_string_buffer(model, len(model))
        self._kept.append(content)
        loaded = self.made(
            "LiteRtCreateModelFromBuffer", self._environment, content, ctypes.c_size_t(len(model))
        )
        options = self.made("LiteRtCreateOptions")
        self.call("LiteRtSetOptionsHardwareAccelerators", options, ctypes.c_int(_CPU))
        self._add(options, "runtime_options_string", "enable_profiling = true")
        cpu = f"num_threads = {threads}\nkernel_mode = {_KERNELS[kernels]}"
        self._add(options, "xnnpack", cpu)
        return self.made("LiteRtCreateCompiledModel", self._environment, loaded, options)

    def _add(self, options: ctypes.c_void_p, name: str, text: str) -> None:
        """Options of one part of LiteRT, as TOML."""
        payload = ctypes.create_string_buffer(f"{text}\n".encode())
        nothing = ctypes.CFUNCTYPE(None, ctypes.c_void_p)(lambda _: None)
        self._kept += [payload, nothing]
        place = ctypes.cast(payload, ctypes.c_void_p)
        made = self.made("LiteRtCreateOpaqueOptions", name.encode(), place, nothing)
        self.call("LiteRtAddOpaqueOptions", options, made)

    def buffers(
        self, compiled: ctypes.c_void_p, end: str, details: list[Any], values: list[NDArray[Any]]
    ) -> ctypes.Array[ctypes.c_void_p]:
        """A buffer for each tensor of one end, filled where there are values."""
        found = []
        for place, detail in enumerate(details):
            wanted = self.made(
                f"LiteRtGetCompiledModel{end}BufferRequirements",
                compiled,
                ctypes.c_size_t(0),
                ctypes.c_size_t(place),
            )
            found.append(
                self.made(
                    "LiteRtCreateManagedTensorBufferFromRequirements",
                    self._environment,
                    ctypes.byref(_type_of(detail)),
                    wanted,
                )
            )
        for buffer, array in zip(found, values):  # noqa: B905  an output has no values
            self._fill(buffer, np.ascontiguousarray(array))
        return (ctypes.c_void_p * len(found))(*(each.value for each in found))

    def _fill(self, buffer: ctypes.c_void_p, values: NDArray[Any]) -> None:
        place = ctypes.c_void_p()
        write = ctypes.c_int(1)
        self.call("LiteRtLockTensorBuffer", buffer, ctypes.byref(place), write)
        ctypes.memmove(place, values.ctypes.data, values.nbytes)
        self.call("LiteRtUnlockTensorBuffer", buffer)


def _type_of(detail: Any) -> _TensorType:
    name, shape = np.dtype(detail["dtype"]).name, [int(size) for size in detail["shape"]]
    if name not in _KINDS or len(shape) > _MOST_AXES:
        raise Refused(f"LiteRT's profiler is not given tensors of {name} with {len(shape)} axes")
    found = _TensorType()
    found.kind, found.layout.rank = _KINDS[name], len(shape)
    found.layout.sizes[: len(shape)] = shape
    return found
