"""Layers that compute in float in a file that is called quantised."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, ClassVar

from edgeq.linting import Problem

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from edgeq.linting import Severity
    from edgeq.linting.model import LintLayer, LintModel

_NAMED = re.compile(
    r"(^|[^a-z0-9])(u?int[48]|int16|quant(ized|ised)?|w\d+a\d+|qdq|ptq|qat)", re.IGNORECASE
)
_SHOWN = 5


class FloatInFact:
    """A layer of a quantised file computes in float.

    Its input, its weights, its bias or its result has no quantiser. Or the file's name says that it
    is quantised, and no layer is; of a file that is meant to be in float this is a note. Such a
    layer runs at float's speed, and an accelerator for integers leaves it to the processor. `edgeq
    audit` asks a runtime; this rule needs none.
    """

    severity: ClassVar[Severity] = "warning"
    summary: ClassVar[str] = "layers in float in a file that is quantised, or says so"

    def check(self, model: LintModel) -> Iterator[Problem]:
        """One problem a layer, or one for the whole file."""
        in_float = [layer for layer in model.layers if layer.why_float]
        if not model.is_quantized and not _NAMED.search(model.name):
            if in_float:
                yield _float_file(in_float)
            return
        if model.layers and len(in_float) == len(model.layers):
            parts = f", though parts are quantised: {in_float[0].why_float}"
            why = parts if model.is_quantized else ""
            count = len(in_float)
            all_of_them = f"all {count} layers compute" if count > 1 else "the only layer computes"
            yield Problem(
                "",
                f"{all_of_them} in float{why}",
                "quantise activations and weights: edgeq calibrate; edgeq audit shows what a "
                "runtime makes of the file",
                1.0,
                "of the layers",
                severity="error" if _NAMED.search(model.name) else None,
            )
            return
        for layer in in_float:
            yield Problem(
                layer.node,
                f"{layer.op_type} computes in float: {layer.why_float}",
                "quantise what it reads and writes; edgeq audit shows what a runtime makes of it",
                float(layer.size),
                "weights",
            )


def _float_file(layers: Sequence[LintLayer]) -> Problem:
    names = ", ".join(layer.node for layer in layers[:_SHOWN])
    more = f" and {len(layers) - _SHOWN} more" if len(layers) > _SHOWN else ""
    return Problem(
        "",
        f"the file is in float, with the layers {names}{more}: nothing in it is quantised",
        "a float file is what edgeq calibrate takes; lint what it writes",
        severity="note",
    )
