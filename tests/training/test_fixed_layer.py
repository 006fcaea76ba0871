"""A layer whose weights are made once gives the same bits, and a session asks for nothing else."""

from __future__ import annotations

from copy import deepcopy
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from torch import fx, nn

from edgeq.network.layer_protocols import ActivationQuantizer, FixableLayer, IntegerLayer
from edgeq.quant import QuantizedTensor, QuantParams
from edgeq.target import TARGETS
from edgeq.training import checkpoint as checkpoints
from edgeq.training.checkpoint import MODEL, Checkpoint, build_model, model_state
from edgeq.training.layers import QuantLayer, WeightQuantizer
from edgeq.training.quantizers.learned_clip import LearnedClip
from edgeq.training.recipes.recipe import Recipe
from edgeq.training.recipes.scheme import Scheme

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

LAYERS = {
    "convolution": (nn.Conv2d(4, 6, 3, padding=1, bias=False), nn.BatchNorm2d(6)),
    "with a bias": (nn.Conv2d(4, 6, 3), None),
    "transposed": (nn.ConvTranspose2d(4, 6, 3, bias=False), nn.BatchNorm2d(6)),
    "linear": (nn.Linear(7, 3), None),
    "nothing but weights": (nn.Linear(7, 3, bias=False), None),
}
SHAPE = (1, 8, 8)


def quantized(kind: str) -> QuantLayer:
    layer, bn = deepcopy(LAYERS[kind])
    made = QuantLayer(
        layer,
        bn,
        WeightQuantizer(LearnedClip(4, signed=True, narrow_range=True, bound=3.0), normalize=True),
        -0.3,
    )
    made.read_from(LearnedClip(4, signed=False, bound=6.0))
    return made


def batch(kind: str) -> torch.Tensor:
    return torch.rand(
        (5, 7) if "linear" in kind or "nothing" in kind else (5, 4, 9, 9),
        generator=torch.Generator().manual_seed(0),
    )


@pytest.mark.parametrize("rounding", [True, False])
@pytest.mark.parametrize("kind", LAYERS)
def test_the_bits_are_those_of_the_layer(kind: str, rounding: bool) -> None:
    layer, x = quantized(kind), batch(kind)
    layer(x)  # statistics that are not those BatchNorm begins with
    layer.eval().quantizer.clip.rounding = rounding
    assert isinstance(layer, FixableLayer)
    fixed = layer.with_fixed_weights()
    assert torch.equal(fixed(x), layer(x))
    assert isinstance(fixed, IntegerLayer)
    assert np.array_equal(fixed.integer_weights().weight, layer.integer_weights().weight)


@pytest.mark.parametrize("rounding", [True, False])
def test_the_layer_itself_keeps_nothing(rounding: bool) -> None:
    layer, x = quantized("convolution"), batch("convolution")
    layer.eval().quantizer.clip.rounding = rounding
    names, before = list(layer.state_dict()), layer(x)
    fixed = layer.with_fixed_weights()
    with torch.no_grad():
        layer.layer.get_parameter("weight").neg_()
    assert torch.equal(fixed(x), before)
    assert not torch.equal(layer(x), before)
    assert list(layer.state_dict()) == names


@pytest.fixture(scope="module", params=["mlp-3x1024", "stable-resnet8"])
def trained(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The checkpoint of a network that has seen one batch."""
    recipe = Recipe(request.param, "digits", Scheme(weight_bits=4))
    model = build_model(recipe, SHAPE, 10)
    model(images(16))
    path = tmp_path_factory.mktemp("run") / "best.safetensors"
    tensors = {f"{MODEL}{name}": tensor for name, tensor in model_state(model).items()}
    checkpoints.save(path, Checkpoint(recipe, SHAPE, tuple("0123456789"), tensors))
    return path


def images(count: int) -> torch.Tensor:
    return torch.rand(count, *SHAPE, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("target", ["torch", "torch-fp32"])
def test_a_session_makes_weights_once_and_answers_with_the_bits_of_the_network(
    trained: Path, target: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = checkpoints.load_model(trained, rounding=target == "torch").module
    with torch.inference_mode():
        expected = np.concatenate([network(image[None]).numpy() for image in images(3)])
    made: list[QuantLayer] = []
    original = QuantLayer.constants

    def noting(layer: QuantLayer) -> tuple[torch.Tensor, torch.Tensor | None]:
        made.append(layer)
        return original(layer)

    monkeypatch.setattr(QuantLayer, "constants", noting)
    with TARGETS.load(target).open(trained) as session:
        answers = session.run(images(3).numpy())
    assert np.array_equal(answers, expected)
    assert len(made) == sum(isinstance(module, QuantLayer) for module in network.modules())


def noting_on(
    grid: QuantParams, seen: list[NDArray[Any]]
) -> Callable[[nn.Module, object, torch.Tensor], None]:
    return lambda _module, _inputs, output: seen.append(grid.quantize(output.numpy()))


def test_tensors_inside_are_those_of_the_network(trained: Path) -> None:
    network, expected = checkpoints.load_model(trained).module, list["NDArray[Any]"]()
    assert isinstance(network, fx.GraphModule)
    paths = dict.fromkeys(
        str(node.target) for node in network.graph.nodes if node.op == "call_module"
    )
    for quantizer in map(network.get_submodule, paths):
        if isinstance(quantizer, ActivationQuantizer):
            quantizer.register_forward_hook(noting_on(quantizer.quant_params(), expected))
    with torch.inference_mode():
        network(images(1))
    with TARGETS.load("torch").open(trained, intermediates=True) as session:
        inside = session.tensors(images(1).numpy()).values()
    integers = [tensor.values for tensor in inside if isinstance(tensor, QuantizedTensor)]
    assert len(integers) == len(expected) > 3
    assert all(map(np.array_equal, integers, expected))
