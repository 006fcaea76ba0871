"""Constants of channels become normalisations without statistics that compute the same."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnxruntime
import pytest
import torch
from tests.support.models.blocks import Head, LayerScale
from tests.support.models.families import Normalizing, plain
from torch import Tensor, nn

from edgeq.errors import UsageError
from edgeq.exporters.torch.lower import lower
from edgeq.formats.onnx_io import serialize
from edgeq.training.layers import QuantLayer
from edgeq.training.qat_transform import quantize
from edgeq.training.qat_transform.normal_form.channel_constants import ChannelAffine
from edgeq.training.qat_transform.tracing import trace
from edgeq.training.recipes.scheme import Scheme

if TYPE_CHECKING:
    from collections.abc import Callable

IMAGES = torch.randn(4, 3, 16, 16, generator=torch.Generator().manual_seed(0))


class Around(nn.Module):
    """Arithmetic with buffers and parameters in front of a convolution."""

    def __init__(self, arithmetic: Callable[[Any, Any], Any]) -> None:
        super().__init__()
        self.arithmetic, self.conv, self.head = arithmetic, nn.Conv2d(3, 8, 3), Head(8)
        self.inner = nn.Conv2d(3, 3, 1)
        self.register_buffer("three", torch.tensor([0.5, -2.0, 4.0]).view(3, 1, 1))
        self.register_buffer("one", torch.tensor([0.25]))
        self.register_buffer("whole", torch.tensor([[[[3]], [[1]], [[2]]]]))
        self.register_buffer("flat", torch.tensor([1.0, 2.0, 3.0]))
        self.trained, self.six = (
            nn.Parameter(torch.tensor([1.0, -0.5, 0.25])),
            nn.Parameter(torch.rand(6)),
        )

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.head(self.conv(self.arithmetic(self, x)))
        return out


def affines(model: nn.Module) -> list[ChannelAffine]:
    return [module for module in model.modules() if isinstance(module, ChannelAffine)]


@pytest.mark.parametrize(
    "arithmetic",
    [
        lambda net, x: (x / 255.0 - net.three) / net.whole,
        lambda net, x: (net.three - x) * 2,
        lambda net, x: 3 * (1 + net.whole * x) - 0.5,
        lambda net, x: x.sub_(net.flat[None, :, None, None]).div_(
            net.flat.sqrt().reshape(1, 3, 1, 1)
        ),
        lambda net, x: torch.add(x, net.three).mul(net.one),
        lambda net, x: x - net.flat.unsqueeze(-1).unsqueeze(-1),
        lambda net, x: x * (1 / net.three) + 2 * net.three,
    ],
)
def test_a_chain_is_one_normalisation(arithmetic: Callable[[Any, Any], Any]) -> None:
    torch.manual_seed(0)
    network = Around(arithmetic).eval()
    traced = trace(network, IMAGES)
    assert len(affines(traced)) == 1
    assert not [node for node in traced.graph.nodes if node.op == "get_attr"]
    torch.testing.assert_close(traced(IMAGES.clone()), network(IMAGES.clone()))
    assert not affines(traced)[0].weight.requires_grad


def test_a_buffer_of_one_element_is_a_number() -> None:
    network = Around(lambda net, x: x * net.one)
    traced = trace(network, IMAGES)
    assert affines(traced) == []
    assert any(0.25 in node.args for node in traced.graph.nodes)
    torch.testing.assert_close(traced(IMAGES), network(IMAGES))


def test_what_others_read_ends_a_chain() -> None:
    def twice(net: Any, x: Tensor) -> Tensor:
        centred: Tensor = x - net.three
        out: Tensor = centred / net.whole + centred
        return out

    network = Around(twice)
    traced = trace(network, IMAGES)
    assert len(affines(traced)) == 2
    torch.testing.assert_close(traced(IMAGES), network(IMAGES))


def test_a_parameter_is_trained_on() -> None:
    network = LayerScale(8)
    traced = trace(plain(network), IMAGES).train()
    scale, moved, reshaped = affines(traced)
    assert torch.equal(scale.weight, network.gamma)
    assert torch.equal(moved.bias, network.shift.reshape(-1))
    assert torch.equal(reshaped.weight, network.scale.reshape(-1))
    names = dict(traced.named_parameters())
    assert not any(name.endswith(("gamma", "shift", "scale")) for name in names)
    traced(IMAGES).sum().backward()
    for parameter in (scale.weight, moved.bias, reshaped.weight):
        assert parameter.requires_grad
        assert parameter.grad is not None


def test_scale_and_shift_after_each_other_are_one() -> None:
    network = Around(lambda net, x: x * net.trained.view(1, -1, 1, 1))
    network.shift = nn.Parameter(torch.ones(3, 1, 1))
    network.arithmetic = lambda net, x: x * net.trained.view(1, -1, 1, 1) + net.shift
    traced = trace(network, IMAGES)
    (affine,) = affines(traced)
    assert affine.weight.requires_grad
    assert affine.bias.requires_grad
    torch.testing.assert_close(traced(IMAGES), network(IMAGES))


def test_a_shift_along_another_axis_is_another_normalisation() -> None:
    network = Around(lambda net, x: x * net.trained.view(1, -1, 1, 1))
    network.width = nn.Parameter(torch.linspace(-1, 1, 16))
    network.arithmetic = lambda net, x: x * net.trained.view(1, -1, 1, 1) + net.width
    traced = trace(network, IMAGES)
    assert len(affines(traced)) == 2
    torch.testing.assert_close(traced(IMAGES), network(IMAGES))


def test_a_shift_is_not_put_in_the_place_of_one_that_is_there() -> None:
    first = trace(Normalizing(nn.Identity()), IMAGES)
    network = Around(lambda net, x: net.first(x) + net.trained.view(1, -1, 1, 1))
    network.first = first
    torch.testing.assert_close(trace(network, IMAGES)(IMAGES), network(IMAGES))


def test_a_parameter_that_is_not_trained_is_a_constant() -> None:
    network = Around(lambda net, x: (x - net.trained.view(1, -1, 1, 1)) / net.three)
    network.trained.requires_grad_(False)
    traced = trace(network, IMAGES)
    assert len(affines(traced)) == 1
    torch.testing.assert_close(traced(IMAGES), network(IMAGES))


def test_a_module_of_the_networks_own_keeps_its_name() -> None:
    network = Around(lambda net, x: net.mul_affine(x * net.trained.view(1, -1, 1, 1)))
    network.mul_affine = nn.Conv2d(3, 3, 1)
    traced = trace(network, IMAGES)
    torch.testing.assert_close(traced(IMAGES), network(IMAGES))
    assert traced.get_submodule("mul_affine") is network.mul_affine


@pytest.mark.parametrize(
    "arithmetic",
    [
        lambda net, x: net.three / (x + 10),
        lambda net, x: x * net.trained.view(1, -1, 1, 1) - net.trained.view(1, -1, 1, 1),
        lambda net, x: x / net.trained.view(1, -1, 1, 1),
        lambda net, x: x * net.trained.abs().view(1, -1, 1, 1),
        lambda net, x: x[:, :1] * net.three,
        lambda net, x: net.inner(x) + net.inner.bias.view(-1, 1, 1),
        lambda net, x: x * net.trained[[2, 0, 1]].view(1, -1, 1, 1),
        lambda net, x: x * net.six[:3].view(1, -1, 1, 1),
        lambda net, x: x * net.six.view(2, 3)[0].view(1, -1, 1, 1),
    ],
)
def test_what_is_no_normalisation_is_a_constant_tensor(
    arithmetic: Callable[[Any, Any], Any],
) -> None:
    network = Around(arithmetic)
    torch.testing.assert_close(trace(network, IMAGES)(IMAGES), network(IMAGES))
    model = quantize(network, Scheme(), IMAGES)
    assert model.train()(IMAGES).isfinite().all()


def test_a_constant_that_puts_an_axis_before_the_batch_is_refused() -> None:
    network = Around(
        lambda net, x: x + (x.mean((2, 3)) * net.flat.view(1, 1, 3)).reshape(-1, 3, 1, 1)
    )
    with pytest.raises(UsageError, match="mul puts an axis before the batch's"):
        quantize(network, Scheme(), IMAGES)


class Along(nn.Module):
    """Arithmetic along the last axis of features, tokens or an image whose channels are last."""

    def __init__(self, shape: tuple[int, ...], *, trained: bool) -> None:
        super().__init__()
        values = torch.linspace(0.5, 2, shape[-1])
        self.shape = shape
        if trained:
            self.scale = nn.Parameter(values)
        else:
            self.register_buffer("scale", values.reshape(1, *[1] * (len(shape) - 1), -1))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = 2 * (x.reshape(-1, *self.shape) * self.scale)
        return out


@pytest.mark.parametrize("trained", [False, True])
@pytest.mark.parametrize("shape", [(768,), (256, 3), (3, 256), (16, 16, 3)])
def test_it_may_lie_along_the_last_axis(shape: tuple[int, ...], trained: bool) -> None:
    network = Along(shape, trained=trained)
    traced = trace(network, IMAGES)
    (affine,) = affines(traced)
    assert affine.weight.requires_grad == trained
    assert torch.equal(traced(IMAGES), network(IMAGES))
    assert quantize(network, Scheme(), IMAGES).train()(IMAGES).shape == (4, *shape)


def test_it_takes_no_statistics() -> None:
    model = quantize(Normalizing(plain()), Scheme(), IMAGES).train()
    (affine,) = affines(model)
    before = {name: tensor.clone() for name, tensor in affine.state_dict().items()}
    model(IMAGES)
    model(10 * IMAGES)
    assert not affine.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in affine.state_dict().items())


def test_a_layer_before_it_takes_it_in_and_keeps_the_size_of_its_weights() -> None:
    model = quantize(plain(LayerScale(8)), Scheme(4, 4), IMAGES)
    layer = model.get_submodule("1.conv")
    assert isinstance(layer, QuantLayer)
    assert isinstance(layer.bn, ChannelAffine)
    assert not layer.quantizer.normalize  # no statistics of a batch would give the size back


@pytest.mark.parametrize("network", [Normalizing(plain()), plain(LayerScale(8), nn.ReLU())])
def test_in_float_onnx_runtime_computes_the_same(network: nn.Module) -> None:
    traced = trace(network.eval(), IMAGES)
    session = onnxruntime.InferenceSession(
        serialize(lower(traced, (3, 16, 16))), providers=["CPUExecutionProvider"]
    )
    found: Any = session.run(None, {"input": IMAGES.numpy()})[0]
    # in float there are no steps to count in
    np.testing.assert_allclose(found, network(IMAGES).detach().numpy(), rtol=1e-4, atol=1e-5)
