"""How many samples methods keep: what is alive of them stays small, however large they are."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeq.calibration._nodes import LAYERS, name_of, output
from edgeq.calibration.feeds.samples import Kept, feeds
from edgeq.calibration.observe import tensors_of
from edgeq.data.batching import samples_in

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import onnx_ir as ir

    from edgeq.target import Batch

MOST_NUMBERS = 2**25
"""Of the largest tensor of a layer, in all samples: 128 MiB in float32, of which some are alive."""
_SPREAD = 16  # how many batches the samples come from, at least, where there are fewer than asked


def kept_for_methods(
    model: ir.Model, opening: Sequence[Batch], most: int, tell: Callable[[str], None]
) -> Kept:
    """What keeps the samples that methods see.

    Methods hold what each layer reads and answers for all of their samples. So large images leave
    room for fewer of them, which have more positions each.

    Args:
        model: the canonical float network.
        opening: the first of all batches; none where there are no samples.
        most: how many samples are asked for, at most.
        tell: called with what is done where fewer fit.
    """
    names = [name_of(output(node)) for node in model.graph if node.op_type in LAYERS]
    fed = next((part for each in opening for part in feeds(each, model.graph.inputs, most=1)), None)
    if fed is None or not names:
        return Kept(most)
    made = tensors_of(model, fed, names)
    numbers = max(each.size for each in (*made.values(), *fed.values())) // samples_in(fed)
    count = max(1, MOST_NUMBERS // numbers)
    if count >= most:
        return Kept(most)
    tell(
        f"methods see {count} samples of up to {most}: a layer has {numbers:,} numbers of each, "
        f"and {MOST_NUMBERS:,} are kept"
    )
    return Kept(count, max(1, count // _SPREAD))
