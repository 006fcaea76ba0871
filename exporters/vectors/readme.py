"""The README of a folder of golden vectors.

What is in it, how it was made, and how to replay it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import edgeq
from edgeq.exporters.vectors.headers import printable, stem
from edgeq.exporters.vectors.layers import SEED
from edgeq.exporters.vectors.rounding import dense_rounds_once
from edgeq.numerics.multipliers import ADD_HEADROOM

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edgeq.exporters.vectors.layers import RecordedLayer

_TEXT = """# Golden vectors

What a device has to compute, layer by layer, in integers, for whoever writes its kernels.

| file | content |
|---|---|
| `vectors.npz` | every layer: `000/input0`, `000/output`, `000/weights`, `000/bias` and so on |
| `layer_000.h` ... | the same as C arrays; `layers.h` lists those that `replay.c` replays |
| `edgeq_layer.h`, `edgeq_kernels.h` | the C structure of a layer, and its arithmetic in plain C99 |
| `replay.c` | computes each layer from its recorded inputs and compares every integer |
| `model.tflite` | the model that was run |

Replay all layers, or one:

    cc -std=c99 -O2 -o replay replay.c && ./replay
    cc -std=c99 -O2 -DEDGEQ_LAYERS='"layer_000.h"' -o replay replay.c && ./replay

## How they were made

- Input: one sample of normally distributed integers about the middle of the input's grid, an eighth
  of it the standard deviation, from `numpy.random.default_rng({seed})`.
- Answers: TensorFlow Lite's reference kernels (ai-edge-litert {litert}), every tensor kept. Each
  layer is recorded with the inputs it really got, so layers can be tested one by one.
- Layout: as in the TFLite file, images NHWC, the last dimension fastest. All of it int8 where
  nothing else is said; weights have zero point 0, biases are int32.
- A factor is `multiplier * 2^(shift - 31)`: the mantissa in Q31, int32; a positive shift is to the
  left. Weighted layers have one an output channel. ADD and SUB move their operands {headroom} bits
  to the left, rescale each, add, and rescale the sum.
- Rounding: after the product with the mantissa to nearest, after the shift to the right to nearest
  with ties away from zero. Average pooling rounds its quotient with ties away from zero, and
  averages the stored integers, zero point and all.
- Fully connected layers round {dense} in this version of ai-edge-litert. TensorFlow Lite Micro and
  CMSIS-NN round them twice: where a layer has `rounds_once = 1`, they may answer 1 more or less
  next to a half.
- edgeq {version}

## Layers

| layer | operator | tensor | shape | scale | zero point | bounds | replayed |
|---|---|---|---|---|---|---|---|
"""


def readme(layers: Sequence[RecordedLayer], litert: str) -> str:
    """The README in Markdown.

    Args:
        layers: what the folder holds.
        litert: the version of the runtime that answered.
    """
    dense = "once, after the shift," if dense_rounds_once() else "twice, as all others,"
    facts = {
        "seed": SEED,
        "litert": litert,
        "headroom": ADD_HEADROOM,
        "dense": dense,
        "version": edgeq.__version__,
    }
    return _TEXT.format(**facts) + "".join(_row(layer) for layer in layers)


def _row(layer: RecordedLayer) -> str:
    output, settings = layer.output, {} if layer.arithmetic is None else layer.arithmetic.settings
    bounds = f"{settings['low'][0]} to {settings['high'][0]}" if "low" in settings else ""
    shape = " x ".join(map(str, output.values.shape))
    cells = (
        stem(layer),
        layer.operator,
        f"`{printable(output.name)}`",
        shape,
        f"{output.scale:.9g}",
        str(output.zero_point),
        bounds,
        "no" if layer.arithmetic is None else "yes",
    )
    return f"| {' | '.join(cells)} |\n"
