"""Other weights, samples, faults and places than those of the tests, by ``EDGEQ_FAULT_SEED``."""

from __future__ import annotations

import os

SEED = int(os.environ.get("EDGEQ_FAULT_SEED", "0"))


def seeded(number: int) -> int:
    """The seed of one use, which takes a number of its own."""
    return number + 1000 * SEED
