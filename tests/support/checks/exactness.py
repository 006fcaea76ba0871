"""What the tests of the exactness contract measure with: integers of torch and ONNX Runtime."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import onnx
import onnxruntime as ort
import torch
from tests.support.checks.referee import Position, Referee
from torch import Tensor, fx, nn

from edgeq.exporters.onnx.dialects import to_dialect
from edgeq.exporters.torch.lower import lower
from edgeq.formats.dialect import CANONICAL
from edgeq.formats.onnx_io import serialize
from edgeq.qdq.ort_x86.saturation import pair_sums
from edgeq.qdq.reader import read_qdq
from edgeq.qdq.segments import Cut, Segments, cut

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import onnx_ir as ir
    from numpy.typing import NDArray


def torch_integers(
    model: fx.GraphModule, cuts: Sequence[Cut], images: NDArray[np.float32]
) -> dict[str, NDArray[np.int64]]:
    """The integers of every quantised tensor as torch computes it.

    Each value must lie on its grid bit for bit.
    """
    recorder = _Recorder(model)
    with torch.inference_mode():
        recorder.run(torch.from_numpy(images))
    return {
        cut.name: _integers(
            recorder.found.get(f"{cut.name}_quantized", recorder.found.get(cut.name)), cut
        )
        for cut in cuts
    }


class _Recorder(fx.Interpreter):
    def __init__(self, model: fx.GraphModule) -> None:
        super().__init__(model)
        self.found: dict[str, NDArray[np.float32]] = {}

    def run_node(self, n: fx.Node) -> Any:
        result = super().run_node(n)
        if isinstance(result, Tensor):
            self.found[n.name] = result.numpy().copy()
        return result


def _integers(value: NDArray[np.float32] | None, where: Cut) -> NDArray[np.int64]:
    assert value is not None, f"torch has no tensor {where.name}"
    scale, zero = float(where.params.scale), int(where.params.zero_point)
    integers = np.rint(value.astype(np.float64) / scale).astype(np.int64) + zero
    assert np.array_equal(where.params.dequantize(integers), value), (
        f"{where.name} is not on its grid in torch"
    )
    assert integers.min() >= where.params.qmin, where.name
    assert integers.max() <= where.params.qmax, where.name
    return integers


@dataclass
class Runtime:
    """A cut model in ONNX Runtime."""

    session: ort.InferenceSession
    operators: list[str]

    @classmethod
    def of(cls, model: ir.Model, folder: Path, *, optimize: bool) -> Runtime:
        options = ort.SessionOptions()
        level = ort.GraphOptimizationLevel
        options.graph_optimization_level = (
            level.ORT_ENABLE_ALL if optimize else level.ORT_DISABLE_ALL
        )
        options.intra_op_num_threads = 1
        options.log_severity_level = 3
        options.optimized_model_filepath = str(folder / f"running-{optimize}.onnx")
        session = ort.InferenceSession(
            serialize(model), options, providers=["CPUExecutionProvider"]
        )
        return cls(
            session,
            [node.op_type for node in onnx.load(options.optimized_model_filepath).graph.node],
        )

    def run(self, names: Sequence[str], feeds: Mapping[str, NDArray[Any]]) -> list[NDArray[Any]]:
        return cast("list[NDArray[Any]]", self.session.run(names, feeds))

    def integers(
        self, segments: Segments, feeds: Mapping[str, NDArray[Any]]
    ) -> dict[str, NDArray[np.int64]]:
        values = self.run([cut.output for cut in segments.cuts], feeds)
        return {
            cut.name: value.astype(np.int64)
            for cut, value in zip(segments.cuts, values, strict=True)
        }


def feeds_of(
    segments: Segments, images: NDArray[np.float32], integers: Mapping[str, NDArray[np.int64]]
) -> dict[str, NDArray[Any]]:
    """The inputs of a cut model: the images, and the given integers at every cut."""
    fed = {
        cut.feed: integers[cut.name].astype(cut.params.dtype)
        for cut in segments.cuts
        if cut.feed is not None
    }
    return {"input": images, **fed}


@dataclass(frozen=True)
class Verdict:
    """What came out of rows one and two of the contract for one network.

    Attributes:
        compared: integers compared.
        flips: integers of row one that differ, all of them by one, at ties.
        optimised: integers of row two that differ, all of them by one.
        error: the largest float error allowed for where no clipping hides it, in LSB; well below
            one half, or the proof would prove nothing.
        operators: what ONNX Runtime really ran after optimisation.
    """

    compared: int
    flips: int
    optimised: int
    error: float
    operators: tuple[str, ...]


def check_rows_one_and_two(
    model: fx.GraphModule,
    images: NDArray[np.float32],
    folder: Path,
    lowered: ir.Model | None = None,
) -> Verdict:
    """Row one: torch against ONNX Runtime unoptimised; row two: unoptimised against optimised.

    Both segment by segment.
    """
    model.eval()
    written = to_dialect(lowered or lower(model, images.shape[1:]), CANONICAL)
    assert_no_pair_saturates(written)
    segments = cut(written)
    expected = torch_integers(model, segments.cuts, images)
    feeds = feeds_of(segments, images, expected)
    plain = Runtime.of(segments.model, folder, optimize=False).integers(segments, feeds)
    optimised = Runtime.of(segments.model, folder, optimize=True)
    fused = optimised.integers(segments, feeds)
    positions = Referee(segments).positions(feeds)
    compared = flips = steps = 0
    for where in segments.cuts:
        compared += expected[where.name].size
        flips += _check_row_one(
            where, expected[where.name], plain[where.name], positions[where.name]
        )
        off = np.abs(fused[where.name] - plain[where.name])
        assert off.max() <= 1, (
            f"{where.producer}: optimisation moves {where.name} by {off.max()} LSB"
        )
        steps += int(off.sum())
    error = max(positions[where.name].open_error(where) for where in segments.cuts)
    return Verdict(compared, flips, steps, error, tuple(optimised.operators))


def assert_no_pair_saturates(written: ir.Model) -> None:
    """On every processor, also where this one would not show it.

    By the weights and the ranges of their inputs.
    """
    found = [
        layer for layer in pair_sums(read_qdq(written, float_fallback=True)) if layer.can_saturate
    ]
    assert not found, (
        f"x86 without VNNI saturates in {found[0].layer}: a pair can come to {found[0].extreme}"
    )


def _check_row_one(
    where: Cut, expected: NDArray[np.int64], found: NDArray[np.int64], position: Position
) -> int:
    differ = expected != found
    assert position.rounds_to(expected, where).all(), (
        f"{where.name}: torch's integers are no roundings of the segment's result"
    )
    assert position.rounds_to(found, where).all(), (
        f"{where.name}: ONNX Runtime's integers are no roundings of the segment's result"
    )
    assert np.abs(expected - found).max() <= 1, (
        f"{where.producer}: {where.name} differs by more than 1 LSB"
    )
    assert position.near_tie()[differ].all(), (
        f"{where.producer}: {where.name} differs where there is no tie"
    )
    return int(differ.sum())


def roughen(
    model: fx.GraphModule, shape: tuple[int, ...], *, seed: int = 0, negative: bool = True
) -> fx.GraphModule:
    """Give a network BatchNorms, biases and bounds as training leaves them, but wilder.

    Negative scales, uneven channels.
    """
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.momentum = 0.5
                if module.affine:
                    module.weight.copy_(
                        torch.randn(module.weight.shape, generator=generator)
                        if negative
                        else torch.rand(module.weight.shape, generator=generator)
                    )
                    module.bias.copy_(torch.randn(module.bias.shape, generator=generator) / 2)
            if isinstance(module, nn.Linear) and module.bias is not None:
                module.bias.copy_(torch.randn(module.bias.shape, generator=generator))
        model.train()
        for _ in range(4):
            model(torch.randn(16, *shape, generator=generator))
    return model.eval()
