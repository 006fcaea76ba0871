"""Which layers can saturate in pairs.

By weights, order and the range of the input, and by the kernels of the runtime itself.
"""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.models.pair_models import layer
from tests.support.runtimes.haswell import why_not

from edgeq.machine import adds_pairs, fingerprint
from edgeq.qdq.ort_x86.saturation import (
    PAIR_RANGE,
    neighbours,
    pair_limit,
    pair_safe_scale,
    pair_sums,
)
from edgeq.qdq.reader import read_qdq
from edgeq.target import TARGETS

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import onnx
    from numpy.typing import NDArray

    from edgeq.qdq.ort_x86.saturation import Order, PairSums


def all_sums(model: onnx.ModelProto, order: Order = "across") -> Sequence[PairSums]:
    return pair_sums(read_qdq(ir.from_proto(model)), order)


def sums_of(model: onnx.ModelProto, order: Order = "across") -> PairSums:
    """Those of the first layer."""
    return all_sums(model, order)[0]


def conv(*taps: int, channels: int = 4) -> NDArray[np.int8]:
    """A filter, (1, channels, taps / channels), given channels innermost."""
    return np.array(taps, np.int8).reshape(1, -1, channels).transpose(0, 2, 1)


class TestTheBound:
    def test_neighbours_are_channels_of_one_position(self) -> None:
        assert sums_of(layer(conv(127, 0, 127, 0))).largest == 127 * 255
        found = sums_of(layer(conv(127, 127, 0, 0)))
        assert (found.largest, found.smallest, found.pairs, found.total) == (2 * 127 * 255, 0, 1, 2)
        assert found.can_saturate

    def test_an_odd_number_of_channels_pairs_across_positions(self) -> None:
        assert sums_of(layer(conv(0, 0, 127, 127, 0, 0, channels=3))).can_saturate
        assert not sums_of(layer(conv(0, 127, 0, 0, 127, 0, 0, 0, 127, channels=3))).can_saturate

    @pytest.mark.parametrize(
        ("pair", "saturates"),
        [
            ((64, 64), False),
            ((64, 65), True),
            ((-64, -64), False),
            ((-64, -65), True),
            ((127, -127), False),
        ],
    )
    def test_128_weights_are_the_limit_for_full_activations(
        self, pair: tuple[int, int], saturates: bool
    ) -> None:
        assert sums_of(layer(conv(*pair, 0, 0))).can_saturate is saturates

    def test_the_range_of_the_input_counts(self) -> None:
        weights = conv(127, 127, 0, 0)
        assert not sums_of(layer(weights, high=127)).can_saturate
        assert sums_of(layer(weights, high=130)).can_saturate

    def test_int8_activations_enter_with_128_added(self) -> None:
        found = sums_of(layer(conv(127, 127, 0, 0), activation_dtype="int8"))
        assert found.largest == 2 * 127 * 255
        halved = sums_of(layer(conv(127, 127, 0, 0), activation_dtype="int8", relu=True))
        assert halved.largest == 2 * 127 * 255, (
            "0 is stored as 128, and what is greater goes up to 255"
        )

    def test_uint8_weights_and_depthwise_layers_do_not_pair(self) -> None:
        assert not all_sums(layer(np.full((1, 4, 3), 255, np.uint8)))
        assert not all_sums(layer(np.full((4, 1, 3), 127, np.int8), group=4))
        assert sums_of(layer(np.full((8, 1, 3), 127, np.int8), group=4)).can_saturate

    def test_rows_of_a_fully_connected_layer_follow_its_orientation(self) -> None:
        weights = np.zeros((4, 2), np.int8)
        weights[:2, 0] = 127
        assert sums_of(layer(weights, op="Gemm")).can_saturate
        assert not sums_of(
            layer(np.array([[127, 0, 127, 0]] * 2, np.int8), op="Gemm", transB=1)
        ).can_saturate

    @pytest.mark.parametrize(
        ("taps", "across", "within"),
        [
            ((0, 1), True, True),
            ((2, 3), True, False),
            ((3, 4), False, True),
            ((1, 2), False, False),
        ],
    )
    def test_odd_channels_have_two_orders(
        self, taps: tuple[int, int], across: bool, within: bool
    ) -> None:
        weights = np.zeros(6, np.int64)
        weights[list(taps)] = 127
        model = layer(conv(*weights.tolist(), channels=3))
        assert sums_of(model, "across").can_saturate is across
        assert sums_of(model, "within").can_saturate is within
        assert sums_of(model, "either").can_saturate is (across or within)

    def test_the_limit_for_a_pair_of_weights(self) -> None:
        assert pair_limit(255) == 128
        assert pair_limit(130) == 252
        assert pair_limit(127) is None
        assert pair_limit(15) is None


class TestTheRuntime:
    """The bound against ONNX Runtime's kernels, on processors whose kernels add pairs."""

    @pytest.mark.skipif(
        not adds_pairs(fingerprint()),
        reason="this processor has a dot product that adds in 32 bits",
    )
    @settings(deadline=None, max_examples=40)
    @given(data=st.data())
    def test_a_pair_that_can_saturate_does_where_its_input_comes(self, data: st.DataObject) -> None:
        import onnxruntime as ort

        channels, positions = data.draw(st.integers(2, 5)), data.draw(st.integers(1, 3))
        total = channels * positions
        taps = np.zeros(total, np.int64)
        first, second = data.draw(
            st.lists(st.integers(0, total - 1), min_size=2, max_size=2, unique=True)
        )
        taps[[first, second]] = 127
        weights = conv(*taps.tolist(), channels=channels)
        model = layer(weights)
        options = ort.SessionOptions()
        options.log_severity_level = 3
        session = ort.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        (found,) = session.run(None, {"x": np.full((1, channels, 5), 255 * 0.02, np.float32)})
        exact = min(round(2 * 127 * 255 * 0.02 * 0.01 / 0.5), 127)
        cut = min(round(PAIR_RANGE[1] * 0.02 * 0.01 / 0.5), 127)
        assert exact != cut
        saturates = sums_of(model).can_saturate
        assert set(np.unique(np.rint(np.asarray(found) / 0.5))) == {cut if saturates else exact}

    @pytest.mark.skipif(
        not adds_pairs(fingerprint()),
        reason="this processor has a dot product that adds in 32 bits",
    )
    @pytest.mark.parametrize("taps", [(0, 1), (2, 3), (3, 4), (1, 2)])
    def test_openvino_pairs_within_positions(self, taps: tuple[int, int], tmp_path: Path) -> None:
        target = TARGETS.load("openvino")
        if not target.probe().usable:
            pytest.skip("OpenVINO is not installed")
        weights = np.zeros(6, np.int64)
        weights[list(taps)] = 127
        model = layer(np.repeat(conv(*weights.tolist(), channels=3)[..., None], 8, 0))
        path = tmp_path / "pairs.onnx"
        path.write_bytes(model.SerializeToString())
        with target.open(path) as session:
            found = session.run(np.full((1, 3, 5, 5), 255 * 0.02, np.float32))
        cut, exact = (round(total * 0.02 * 0.01 / 0.5) for total in (PAIR_RANGE[1], 2 * 127 * 255))
        assert set(np.unique(np.rint(found / 0.5))) == {
            cut if sums_of(model, "within").can_saturate else exact
        }

    @pytest.mark.slow
    @pytest.mark.timeout(1800)
    @pytest.mark.skipif(bool(why_not()), reason=why_not() or "nothing is missing")
    def test_it_is_so_on_an_emulated_processor_too(self, tmp_path: Path) -> None:
        """Also in workers, which would else run on the processor that is here."""
        command = [sys.executable, "-m", "tests.support.runtimes.haswell", str(tmp_path)]
        command += ["-m", "pytest", "-q", "-p", "no:xdist", "-p", "no:cacheprovider"]
        command += ["-m", "not slow", "-rs", f"{__file__}::{type(self).__name__}"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-1000:]
        assert "this processor has a dot product" not in done.stdout


class TestPairSafeScales:
    @settings(deadline=None, max_examples=80)
    @given(
        seed=st.integers(0, 2**32 - 1),
        per_tensor=st.booleans(),
        power=st.sampled_from([1, 3, 5]),
        taps=st.integers(1, 9),
    )
    def test_no_pair_exceeds_the_limit_and_safe_rows_keep_their_scale(
        self, seed: int, per_tensor: bool, power: int, taps: int
    ) -> None:
        rows = (np.random.default_rng(seed).standard_normal((6, taps)) ** power).astype(np.float32)
        largest = np.abs(rows).max(1)
        ends = largest.max(keepdims=True) if per_tensor else largest
        scale = np.maximum(ends / np.float32(127), np.float32(1e-6)).reshape(
            () if per_tensor else -1
        )
        found = pair_safe_scale(rows, scale, 128)
        assert found.shape == scale.shape
        first, second = neighbours(np.rint(rows / found.reshape(-1, 1)).astype(np.int64))
        for sign in (1, -1):
            assert (np.maximum(sign * first, 0) + np.maximum(sign * second, 0)).max() <= 128
        before = neighbours(np.rint(rows / scale.reshape(-1, 1)).astype(np.int64))
        sums = [
            np.maximum(sign * before[0], 0) + np.maximum(sign * before[1], 0) for sign in (1, -1)
        ]
        safe = np.maximum(*sums).max(1) <= 128
        if not per_tensor:
            assert np.array_equal(found[safe], scale[safe])
        assert (found <= 2 * scale).all(), "less than a bit is lost"
