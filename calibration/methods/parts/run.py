"""A network that is computed step by step, from one layer to the next."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir

from edgeq.calibration._nodes import constant, name_of, output
from edgeq.calibration.observe import results, session_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray


class Run:
    """One network, computed up to some node; keeps what nodes behind it read.

    Args:
        model: the network; integers behind the node that was reached may change on the way.
        samples: what it takes at once, an array for each input, by name.
    """

    def __init__(
        self, model: ir.Model, samples: Sequence[Mapping[str, NDArray[np.float32]]]
    ) -> None:
        self._model = model
        self._rest = list(model.graph)
        self._known: list[dict[str, NDArray[np.generic]]] = [dict(fed) for fed in samples]

    def until(self, node: ir.Node) -> None:
        """Compute what stands before a node."""
        self._advance(self._rest.index(node))

    def through(self, node: ir.Node) -> NDArray[np.float32]:
        """Compute a node and all before it, where they are not yet; gives what it makes.

        Its constants are not to change any more.
        """
        if node in self._rest:
            self.until(node)
            answer = self.peek(node)
            self._pass([node])
            return answer
        return self.value(output(node))

    def peek(self, node: ir.Node) -> NDArray[np.float32]:
        """What the next node makes, as it is now; it is computed again when it is passed."""
        self._compute([node], [output(node)])
        return self.value(output(node))

    def value(self, value: ir.Value | None) -> NDArray[np.float32]:
        """A tensor that was computed or given, and that a later node reads: all samples of it."""
        name = "" if value is None else name_of(value)
        parts = [known[name] for known in self._known]
        return np.concatenate(parts).astype(np.float32, copy=False)

    def known(self, value: ir.Value | None) -> NDArray[np.float32] | None:
        """All samples of a tensor, where it was computed already and is read again."""
        if value is None or any(name_of(value) not in known for known in self._known):
            return None
        return self.value(value)

    def _advance(self, count: int) -> None:
        passed, rest = self._rest[:count], self._rest[count:]
        read = {value for node in rest for value in node.inputs if value is not None}
        made = [
            value
            for node in passed
            for value in node.outputs
            if value in read and not is_stored(value)
        ]
        self._compute(passed, made)
        self._pass(passed)

    def _pass(self, computed: Sequence[ir.Node]) -> None:
        """Leave the next nodes behind, and what only they read."""
        self._rest = self._rest[len(computed) :]
        kept = {name_of(value) for node in self._rest for value in node.inputs if value is not None}
        for known in self._known:
            for name in known.keys() - kept:
                del known[name]

    def _compute(self, nodes: Sequence[ir.Node], wanted: Sequence[ir.Value]) -> None:
        if not wanted:
            return
        made = {value for node in nodes for value in node.outputs}
        entries = {
            name_of(value)
            for node in nodes
            for value in node.inputs
            if value is not None and value not in made and not is_stored(value)
        }
        part = ir.convenience.extract(self._model.graph, sorted(entries), wanted)
        for value in (*part.inputs, *part.outputs):
            value.type = value.type or ir.TensorType(ir.DataType.FLOAT)
            value.shape = None
        alone = ir.Model(
            part,
            ir_version=self._model.ir_version,
            producer_name=self._model.producer_name,
        )
        session = session_of(alone, exact=True)
        names = [name_of(value) for value in wanted]
        for known in self._known:
            given = {name_of(value): known[name_of(value)] for value in part.inputs}
            known.update(zip(names, results(session, names, given), strict=True))


def is_stored(value: ir.Value) -> bool:
    """Whether it is a constant, perhaps a dequantised one, whose integers may change on the way."""
    node = value.producer()
    if node is not None and node.op_type == "DequantizeLinear":
        return constant(node.inputs[0]) is not None
    return constant(value) is not None
