"""Inner tensors of targets that show none: files that answer with them.

An output more may keep a runtime from fusing what stands on its two sides, and then other kernels
run. So a file with further outputs counts only where its own answers stay the same, bit for bit;
where they do not, its tensors are asked for in halves, and those halves in halves again.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from edgeq.brief import brief
from edgeq.errors import EdgeqError
from edgeq.files import temporary_folder
from edgeq.formats.artefact import detect
from edgeq.quant import QuantizedTensor

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from contextlib import ExitStack
    from pathlib import Path

    from numpy.typing import NDArray

    from edgeq.diffing.replay import Recorded
    from edgeq.quant import QuantParams
    from edgeq.target import Batch, Session, Target

_NHWC = (0, 2, 3, 1)


@dataclass(frozen=True, slots=True, eq=False)
class Hidden:
    """A tensor inside a file.

    Attributes:
        name: as other targets show it.
        output: the value that is made an output.
        params: its grid.
        order: the axis of the model at each of its dimensions; None where they are the same.
    """

    name: str
    output: str
    params: QuantParams
    order: tuple[int, ...] | None = None

    __repr__ = brief


@dataclass(slots=True)
class ExposedSession:
    """Sessions of one file, each of which answers with some of its inner tensors."""

    groups: list[tuple[Session, Sequence[Hidden]]]

    def tensors(self, batch: Batch) -> Mapping[str, Recorded]:
        """Every tensor that can be seen; see :meth:`edgeq.target.Session.tensors`."""
        found: dict[str, Recorded] = {}
        for session, hidden in self.groups:
            answers = session.run_all(batch)
            found |= {each.name: _upright(each, answers[each.output]) for each in hidden}
        return found


def exposed(
    target: Target, artefact: Path, few: Batch, stack: ExitStack, *, threads: int
) -> ExposedSession:
    """A session that shows inner tensors of a file on a target that does not.

    Args:
        target: the target.
        artefact: an ONNX or TFLite file.
        few: samples on which answers have to stay the same.
        stack: what closes it.
        threads: the most threads the runtime may use.

    Raises:
        ArtefactError: the file is missing or broken.
        TargetError: the runtime is absent or refuses the file.
    """
    hidden, showing = _onnx(artefact) if detect(artefact) == "onnx" else _tflite(artefact)
    folder = stack.enter_context(temporary_folder())
    with target.open(artefact, threads=threads) as plain:
        wanted = plain.run(few)
        first = plain.output.name
    groups: list[tuple[Session, Sequence[Hidden]]] = []
    waiting = [[each for each in hidden if each.output != first]]
    while waiting:
        part = waiting.pop()
        if not part:  # a file of one operator has nothing inside
            continue
        path = folder / f"{len(part)}-{part[0].output.replace('/', '_')[-40:]}{artefact.suffix}"
        path.write_bytes(showing([each.output for each in part]))
        with suppress(EdgeqError):
            session = stack.enter_context(target.open(path, threads=threads))
            answers = session.run_all(few)
            if np.array_equal(answers[first], wanted) and all(
                each.output in answers for each in part
            ):
                groups.append((session, part))
                continue
        if len(part) > 1:
            waiting += [part[len(part) // 2 :], part[: len(part) // 2]]
    return ExposedSession(groups)


def _onnx(path: Path) -> tuple[list[Hidden], Callable[[Sequence[str]], bytes]]:
    from edgeq.formats.onnx_io import load
    from edgeq.targets.plans.onnx_graph import QdqView, in_qdq

    model = in_qdq(load(path))
    real = {
        node.input[0]: node.output[0]
        for node in model.graph.node
        if node.op_type == "DequantizeLinear"
    }
    hidden = [
        Hidden(each.name, real[each.value], each.params)
        for each in QdqView(model).quantized()
        if each.params is not None and each.value in real
    ]

    def showing(outputs: Sequence[str]) -> bytes:
        import onnx

        copy = onnx.ModelProto()
        copy.CopyFrom(model)
        own = {value.name for value in copy.graph.output}
        copy.graph.output.extend(
            onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None)
            for name in outputs
            if name not in own
        )
        content: bytes = copy.SerializeToString()
        return content

    return hidden, showing


def _tflite(path: Path) -> tuple[list[Hidden], Callable[[Sequence[str]], bytes]]:
    from edgeq.files import read_bytes
    from edgeq.formats.tflite_file import axes_in, graph_of
    from edgeq.formats.tflite_subgraph import showing
    from edgeq.linting.tflite_view import grid_of_tensor

    content = read_bytes(path, "TFLite model")
    axes = axes_in(content)
    hidden = []
    for operator in graph_of(content).operators:
        for tensor in operator.outputs:
            params = grid_of_tensor(tensor) if tensor.scale.size == 1 else None
            order = axes.get(tensor.name, _NHWC if len(tensor.shape) == 4 else None)
            if params is not None and tensor.shape[:1] == (1,):
                hidden.append(Hidden(tensor.name, tensor.name, params, order))
    return hidden, lambda outputs: showing(content, outputs)


def _upright(hidden: Hidden, values: NDArray[np.float32]) -> QuantizedTensor:
    """Integers in the axes of the model, from the real numbers that a session gives."""
    order = hidden.order
    if order is not None and order[0] == 0 and values.ndim == len(order):
        values = np.ascontiguousarray(values.transpose(np.argsort(order)))
    return QuantizedTensor(hidden.params.quantize(values), hidden.params)
