"""Whether a rewritten float model still computes what the user's does.

On the first calibration batch, before anything is rounded.
"""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir

from edgeq.calibration._nodes import name_of
from edgeq.calibration.observe import check_batch, parts, run, session_of
from edgeq.errors import EdgeqError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from numpy.typing import NDArray

# of the greatest magnitude of an output: what folding in float32 may move; no rewrite that is wrong
# stays below it
_MOST = 1e-3
_SAMPLES = 4


def checked(
    given: ir.Model, rewritten: ir.Model, batches: Iterable[NDArray[np.float32]]
) -> Iterator[NDArray[np.float32]]:
    """The batches, after some samples of the first one were given to both models.

    Raises:
        ArtefactError: the samples do not fit, or a model cannot be run.
        EdgeqError: the models do not compute the same.
    """
    rest = iter(batches)
    first = next(rest, None)
    if first is None:
        return iter(())
    check_batch(first, rewritten.graph.inputs[0])
    if len(first):
        _compare(given, rewritten, next(iter(parts(first[:_SAMPLES], rewritten.graph.inputs[0]))))
    return chain([first], rest)


def _compare(given: ir.Model, rewritten: ir.Model, samples: NDArray[np.float32]) -> None:
    names = [name_of(value) for value in rewritten.graph.outputs]
    source = name_of(rewritten.graph.inputs[0])
    before, after = (run(session_of(model), names, source, samples) for model in (given, rewritten))
    places = {
        name_of(value)
        for value in rewritten.graph.outputs
        if value.dtype in (ir.DataType.INT32, ir.DataType.INT64)
    }
    for name in names:
        wanted, found = before[name].astype(np.float64), after[name].astype(np.float64)
        if wanted.shape != found.shape:
            raise _changed(name, f"it has the shape {found.shape} instead of {wanted.shape}")
        if name in places or not np.isfinite(wanted).all():
            continue  # equals take another place by a rounding; of infinities the observers tell
        most = float(np.abs(wanted).max(initial=0.0))
        moved = float(np.abs(wanted - found).max(initial=0.0))
        if not moved <= _MOST * max(most, 1e-6):
            raise _changed(name, f"it is {moved:.3g} off, of {most:.3g}")


def _changed(name: str, how: str) -> EdgeqError:
    return EdgeqError(
        f"bringing the model to its canonical form changed its output {name!r}: {how}",
        hint="nothing was written; please report the model",
    )
