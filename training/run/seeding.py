"""Where the chance of a training step comes from.

Numbers that a resumed run knows too, and nothing that happened before.
"""

from __future__ import annotations

import numpy as np


def derived_seed(*numbers: int) -> int:
    """What torch's generator is seeded with, 63 bits.

    Other numbers, such as another step, give another.
    """
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0]) >> 1
