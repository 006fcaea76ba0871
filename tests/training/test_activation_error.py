"""What rounding activations does, block by block.

Measured where the paper measures it, and zero where nothing rounds.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from torch import nn

from edgeq.errors import UsageError
from edgeq.models import zoo
from edgeq.training.activation_error import activation_error, block_outputs
from edgeq.training.qat_transform import quantize, quantizers, set_rounding
from edgeq.training.recipes.scheme import Scheme

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray
    from torch import fx

    from edgeq.network.placement import PlacementName

PAPER = Scheme(4, 4, placement="paper")


def network(name: str = "stable-resnet8", scheme: Scheme = PAPER) -> fx.GraphModule:
    torch.manual_seed(0)
    model = quantize(zoo.build(name, classes=10), scheme)
    model.train()
    for _ in range(3):
        model(torch.randn(8, 3, 12, 12))
    return model.eval()


def batches(
    sizes: tuple[int, ...] = (4, 4), seed: int = 0
) -> list[tuple[NDArray[np.float32], NDArray[np.int64]]]:
    rng = np.random.default_rng(seed)
    images = rng.normal(0, 1, (sum(sizes), 3, 12, 12)).astype(np.float32)
    labels = rng.integers(0, 10, sum(sizes))
    ends = np.cumsum((0, *sizes))
    return [(images[a:b], labels[a:b]) for a, b in pairwise(ends)]


@pytest.mark.parametrize("placement", ["paper", "integer"])
@pytest.mark.parametrize(
    ("name", "blocks"),
    [
        ("resnet8", 3),
        ("resnet8-a", 3),
        ("stable-resnet8", 3),
        ("stable-resnet56", 27),
        ("resnet56", 27),
    ],
)
def test_every_block_is_measured_once_at_its_end(
    name: str, blocks: int, placement: PlacementName
) -> None:
    scheme = Scheme(4, 4, placement=placement)
    outputs = block_outputs(quantize(zoo.build(name, classes=10), scheme))
    assert len(outputs) == blocks
    assert not any(node.name.endswith("_quantized") for node in outputs), (
        "before the next quantiser"
    )
    stages = [node.name.split("_")[1] for node in outputs]
    assert stages == sorted(stages)


def test_growing_blocks_end_after_their_pooling() -> None:
    names = [node.name for node in block_outputs(network())]
    assert names == ["stages_0_0_relu2", "stages_1_0_pool", "stages_2_0_pool"]


def by_hand(model: fx.GraphModule, images: NDArray[np.float32]) -> list[tuple[float, int]]:
    """Squared error and count of each block, with hooks of torch's own."""
    kept: dict[bool, list[torch.Tensor]] = {}
    wanted = {str(node.target) for node in block_outputs(model)}
    for rounding in (True, False):
        set_rounding(model, weights=True, activations=rounding)
        seen: list[torch.Tensor] = []

        def keep(
            _module: nn.Module, _inputs: object, out: torch.Tensor, seen: list[torch.Tensor] = seen
        ) -> None:
            seen.append(out.clone())

        hooks = [model.get_submodule(name).register_forward_hook(keep) for name in wanted]
        with torch.inference_mode():
            model(torch.from_numpy(images))
        for hook in hooks:
            hook.remove()
        kept[rounding] = seen
    set_rounding(model, weights=True, activations=True)
    return [
        (float((a.double() - b.double()).square().sum()), a.numel())
        for a, b in zip(kept[True], kept[False], strict=True)
    ]


@pytest.mark.parametrize("name", ["resnet8", "stable-resnet8"])
def test_the_figures_are_those_of_a_calculation_by_hand(name: str) -> None:
    model, data = network(name), batches()
    result = activation_error(model, data)
    expected = by_hand(model, np.concatenate([images for images, _ in data]))
    assert [block.mse for block in result.blocks] == pytest.approx(
        [square / count for square, count in expected], rel=1e-6
    )
    assert result.mse == pytest.approx(
        sum(square for square, _ in expected) / sum(count for _, count in expected), rel=1e-6
    )
    assert result.rmse == pytest.approx(result.mse**0.5)
    assert result.mse > 0
    assert result.samples == 8


def test_how_samples_are_batched_does_not_matter() -> None:
    model = network()
    one, many = activation_error(model, batches((8,))), activation_error(model, batches((3, 1, 4)))
    assert one.mse == pytest.approx(many.mse, rel=1e-5)
    assert (one.samples, one.accuracy_unrounded) == (many.samples, many.accuracy_unrounded)


def test_more_bits_round_less() -> None:
    model = network()
    errors = []
    grids: list[Any] = list(model.get_submodule("quantizers").children())
    for bits in (3, 4, 6, 8):
        for grid in grids:
            grid.bits = bits
        errors.append(activation_error(model, batches()).mse)
    assert errors == sorted(errors, reverse=True)
    assert errors[0] > 100 * errors[-1]


def test_the_accuracy_is_that_of_the_copy_that_only_clips() -> None:
    model, data = network(), batches()
    set_rounding(model, weights=True, activations=False)
    with torch.inference_mode():
        right = sum(
            int((model(torch.from_numpy(images)).argmax(1).numpy() == labels).sum())
            for images, labels in data
        )
    set_rounding(model, weights=True, activations=True)
    assert activation_error(model, data).accuracy_unrounded == right / 8


def test_the_network_rounds_again_afterwards() -> None:
    model = network()
    activation_error(model, batches())
    assert all(quantizer.rounding for quantizer in quantizers(model))


def test_it_rounds_again_after_an_error_too() -> None:
    model = network()

    def failing() -> Iterator[tuple[NDArray[np.float32], NDArray[np.int64]]]:
        yield from batches()
        raise OSError("the disk is gone")

    with pytest.raises(OSError, match="disk"):
        activation_error(model, failing())
    assert all(quantizer.rounding for quantizer in quantizers(model))


def test_what_has_nothing_to_measure_is_refused() -> None:
    with pytest.raises(UsageError, match="without quantisers"):
        activation_error(zoo.build("resnet8", classes=10), batches())
    plain = quantize(nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3)), Scheme(4, 4))
    with pytest.raises(UsageError, match="no residual blocks"):
        activation_error(plain, batches())


def test_no_sample_is_refused() -> None:
    with pytest.raises(UsageError, match="no sample"):
        activation_error(network(), [])
