"""What the samples are computed in does not change what is seen of them."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir
import pytest
from onnx import helper

from edgeq.calibration import observe
from edgeq.calibration.config import CalibrationConfig
from edgeq.calibration.observers import OBSERVERS
from edgeq.calibration.observers.minmax import MinMax
from edgeq.calibration.quantize import fold_onnx, quantize_onnx
from edgeq.calibration.statistics import Origin, Statistics, merged
from edgeq.calibration.statistics.file import to_bytes
from edgeq.calibration.statistics.stages import stages_of
from edgeq.formats.onnx_io import serialize

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from tests.calibration.conftest import Build


@pytest.fixture
def net(build: Build) -> ir.Model:
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"]),
        helper.make_node("Relu", ["c"], ["r"]),
        helper.make_node("Conv", ["r", "w"], ["y"]),
    ]
    weights = np.random.default_rng(0).normal(size=(3, 3, 1, 1)).astype(np.float32)
    return build(nodes, {"w": weights}, ["n", 3, 4, 4])


def images(count: int) -> NDArray[np.float32]:
    return np.random.default_rng(1).normal(size=(count, 3, 4, 4)).astype(np.float32)


@pytest.mark.parametrize("observer", ["minmax", "percentile", "mse", "entropy"])
def test_a_batch_is_computed_in_parts_with_the_same_result(
    observer: str, net: ir.Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = CalibrationConfig(observer)
    whole = serialize(quantize_onnx(net, [images(16)], config))
    monkeypatch.setattr(observe, "_AT_ONCE", 5 * 97)
    assert serialize(quantize_onnx(net, [images(16)], config)) == whole


@pytest.mark.parametrize("count", [1, 2, 7, 16, 31])
def test_workers_get_equal_shares_of_a_batch(
    count: int, net: ir.Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No two differ by more than a run, and no run is larger than it may be."""
    runs: list[list[int]] = []  # of each observer

    class Sizes(MinMax):
        of_extremes = False

        def __init__(self) -> None:
            super().__init__()
            self.sizes: list[int] = []
            runs.append(self.sizes)

        def update(self, batch: NDArray[np.float32]) -> None:
            self.sizes.append(len(batch))
            super().update(batch)

    monkeypatch.setattr(observe, "_AT_ONCE", 2 * 5 * 97)
    monkeypatch.setattr(observe, "usable_threads", lambda: 2)
    quantize_onnx(net, [images(count)], CalibrationConfig(Sizes))
    shares = [sum(sizes) for sizes in runs if sizes]
    assert max(max(sizes) for sizes in runs if sizes) <= 5
    assert sum(shares) == 3 * count  # of three grids
    assert count == 1 or max(shares) - min(shares) <= 5
    assert len(shares) == 3 * min(count, 2)


class NotMergeable:
    """An observer of another package that keeps to the smallest protocol."""

    divisible = True

    def __init__(self) -> None:
        self.seen: list[float] = []

    def update(self, batch: NDArray[np.float32]) -> None:
        self.seen += [float(batch.min()), float(batch.max())]

    def range(self, bits: int) -> tuple[float, float]:
        return min(self.seen), max(self.seen)


@pytest.mark.parametrize(
    "observer", [*OBSERVERS.names(), "minmax-percentile:granularity=batch", NotMergeable]
)
def test_as_many_threads_as_one_likes_see_the_same(
    observer: str, net: ir.Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each sees some samples of a batch; there are also more threads than such samples."""
    config = CalibrationConfig(observer)
    batches = [images(16)[:7], images(16)[7:9] * 100, images(16)[9:]]
    made = []
    for threads in (1, 2, 3):
        monkeypatch.setattr(observe, "usable_threads", lambda threads=threads: threads)
        monkeypatch.setattr(observe, "_AT_ONCE", threads * 97)  # runs of one sample
        made.append(serialize(quantize_onnx(net, batches, config)))
    assert made[0] == made[1] == made[2]


@pytest.mark.parametrize(("divisible", "sizes"), [(True, {2}), (False, {16})])
def test_only_an_observer_of_whole_batches_gets_them_whole(
    divisible: bool, sizes: set[int], net: ir.Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(observe, "_AT_ONCE", 5 * 97)
    monkeypatch.setattr(observe, "usable_threads", lambda: 2)
    seen = set()

    class Watching(MinMax):
        of_extremes = False

        def __init__(self) -> None:
            super().__init__()
            self.divisible = divisible

        def update(self, batch: NDArray[np.float32]) -> None:
            seen.add(len(batch))
            super().update(batch)

    quantize_onnx(net, [images(16)], CalibrationConfig(Watching))
    assert seen == sizes


@pytest.mark.parametrize(
    "observer", ["minmax", "moving-average", "minmax-percentile:granularity=batch"]
)
@pytest.mark.parametrize("size", [1, 3, "n"])
def test_a_batch_has_the_extremes_of_its_parts(
    observer: str, size: int | str, net: ir.Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the batch is fixed, its last part filled up, or two grids share a tensor."""
    monkeypatch.setattr(observe, "_AT_ONCE", 2 * 97)
    net.graph.inputs[0].shape = ir.Shape([size, 3, 4, 4])
    config = CalibrationConfig(observer)
    taps = {**{name: (name,) for name in ("c", "r", "y")}, "r of 16 bits": ("r",)}
    statistics = Statistics(Origin("", "", ""), taps, config.observer_factory())
    batches = [images(16)[:7], images(16)[7:]]
    observe.observe(net, batches, taps, statistics)
    for grid, (tensor,) in taps.items():
        whole = config.observer_factory()()
        for batch in batches:
            whole.update(observe.tensors_of(net, batch, [tensor])[tensor])
        np.testing.assert_equal(statistics.observers[grid].state(), whole.state())


def residual(build: Build, batch: str | int = "n") -> ir.Model:
    """Its sum reads a tensor that an earlier stage made, and its last tensors the input."""
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"]),
        helper.make_node("Relu", ["c"], ["r"]),
        helper.make_node("Conv", ["r", "w"], ["d"]),
        helper.make_node("Add", ["r", "d"], ["s"]),
        helper.make_node("Relu", ["s"], ["t"]),
        helper.make_node("Mul", ["t", "x"], ["y"]),
    ]
    weights = np.random.default_rng(0).normal(size=(3, 3, 1, 1)).astype(np.float32)
    return build(nodes, {"w": weights}, [batch, 3, 4, 4])


@pytest.mark.parametrize("observer", ["minmax", "percentile", "moving-average"])
@pytest.mark.parametrize("batch", ["n", 1])
def test_a_network_too_large_for_memory_is_computed_in_stages(
    observer: str, batch: str | int, build: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    net, config = residual(build, batch), CalibrationConfig(observer)
    whole = serialize(quantize_onnx(net, [images(5)], config))
    for most in (1, 100):
        monkeypatch.setattr(observe, "_IN_A_STAGE", most)
        assert serialize(quantize_onnx(net, [images(5)], config)) == whole


@pytest.mark.parametrize("observer", ["minmax", "percentile", "moving-average"])
def test_stages_see_the_same_in_threads_and_in_shards(
    observer: str, build: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where each thread runs one sample, through every stage."""
    net, config = fold_onnx(residual(build)), CalibrationConfig(observer)
    batches = [images(7), images(9)[2:] * 3, images(4)]
    make, taps = config.observer_factory(), {name: (name,) for name in ("x", "c", "r", "d", "y")}

    def seen(first: int, last: int) -> Statistics:
        statistics = Statistics(Origin("", "", ""), taps, make, first)
        observe.observe(net, batches[first:last], taps, statistics)
        return statistics

    monkeypatch.setattr(observe, "_AT_ONCE", 241)  # runs of one sample
    whole = to_bytes(seen(0, 3))
    monkeypatch.setattr(observe, "_IN_A_STAGE", 1)
    for threads in (1, 2, 3):
        monkeypatch.setattr(observe, "usable_threads", lambda threads=threads: threads)
        monkeypatch.setattr(observe, "_AT_ONCE", threads * 241)  # runs of one sample
        assert to_bytes(seen(0, 3)) == whole
    assert to_bytes(merged([seen(2, 3), seen(0, 1), seen(1, 2)])) == whole


@pytest.mark.parametrize("observer", ["percentile", "mse", "entropy", "moving-average"])
def test_what_fills_a_fixed_batch_up_is_not_counted(observer: str, build: Build) -> None:
    config = CalibrationConfig(observer)
    make, taps = config.observer_factory(), {name: (name,) for name in ("x", "c", "s", "y")}
    found = []
    for size in ("n", 1, 3):
        statistics = Statistics(Origin("", "", ""), taps, make)
        observe.observe(fold_onnx(residual(build, size)), [images(7), images(2)], taps, statistics)
        found.append(to_bytes(statistics))
    assert found[0] == found[1] == found[2]


@pytest.mark.parametrize(("most", "count"), [(1, 4), (48, 4), (96, 2), (10**6, 1)])
def test_a_stage_makes_no_more_than_it_may(most: int, count: int, build: Build) -> None:
    wanted = ["r", "s", "t", "y"]  # of 48 numbers each
    stages = stages_of(fold_onnx(residual(build)), wanted, most)
    assert [name for stage in stages for name in stage.outputs if name in wanted] == wanted
    assert len(stages) == count
    for before, stage in pairwise(stages):
        assert {*stage.inputs} <= {*before.later}
