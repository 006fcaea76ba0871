"""Several parts at a time, one order, and never one part twice at a time."""

from __future__ import annotations

from threading import Barrier, Lock

import pytest

from edgeq.data.in_parts import in_parts


@pytest.mark.parametrize("workers", [1, 3])
def test_parts_are_computed_beside_each_other_and_come_in_order(workers: int) -> None:
    together = Barrier(2, timeout=60)
    locks, order = [Lock(), Lock()], [list[int](), list[int]()]

    def compute(number: int, part: int) -> tuple[int, int]:
        assert locks[part].acquire(blocking=False)
        order[part].append(number)
        together.wait()  # for the other part, which another thread computes
        locks[part].release()
        return number, part

    found = list(in_parts(compute, range(6), 2, workers))
    assert found == [(number, [(number, 0), (number, 1)]) for number in range(6)]
    assert order == [list(range(6))] * 2


def test_what_is_raised_comes_in_its_turn_and_ends_the_work() -> None:
    done = list[int]()

    def compute(number: int, part: int) -> int:
        if number == 1:
            raise ValueError(str(part))
        done.append(number)
        return number

    work = in_parts(compute, iter(range(100)), 1, 1)
    assert next(work) == (0, [0])
    with pytest.raises(ValueError, match="0"):
        next(work)
    assert max(done) < 5
