"""Every tensor of a file as the emulator and as a real runtime compute it, in integers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from edgeq.quant import QuantizedTensor

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from edgeq.target import Target

# of outputs in float behind the last integers, between 0 and 1 or logarithms of that
NO_FLOAT_ERROR = 1e-6


def differing(
    path: Path, real: Target, emulated: Target, images: NDArray[np.float32]
) -> dict[str, int]:
    """How many integers of each tensor differ, where any do.

    Tensors that only the real runtime shows count as one.
    """
    with real.open(path, intermediates=True) as session:
        wanted, outputs = session.tensors(images), session.run(images)
    with emulated.open(path, intermediates=True) as session:
        found, answers = session.tensors(images), session.run(images)
    assert wanted, "the runtime shows no tensors"
    counts = {
        name: _differing(wanted[name], found[name]) if name in found else 1 for name in wanted
    }
    np.testing.assert_allclose(answers, outputs, rtol=NO_FLOAT_ERROR, atol=NO_FLOAT_ERROR)
    return {name: count for name, count in counts.items() if count}


def _differing(
    wanted: QuantizedTensor | NDArray[np.float32], found: QuantizedTensor | NDArray[np.float32]
) -> int:
    if isinstance(wanted, QuantizedTensor):
        assert isinstance(found, QuantizedTensor)
        assert found.params == wanted.params
        assert found.values.dtype == wanted.values.dtype
        assert found.values.shape == wanted.values.shape
        return int((found.values != wanted.values).sum())
    assert isinstance(found, np.ndarray)
    assert found.shape == wanted.shape
    return int((np.abs(found - wanted) > NO_FLOAT_ERROR * np.maximum(1, np.abs(wanted))).sum())
