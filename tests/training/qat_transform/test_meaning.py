"""What stands in a float network keeps its meaning.

What works in place, stopped gradients, fixed kernels, normalisations, factors.

Without rounding, and with ranges that clip nothing, a quantised network answers as the float one
does, and passes the same gradients.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from edgeq.errors import UsageError
from edgeq.training.layers import QuantLayer
from edgeq.training.qat_transform import quantize, set_rounding
from edgeq.training.recipes.scheme import Scheme

if TYPE_CHECKING:
    from collections.abc import Callable

IMAGES = torch.randn(8, 3, 8, 8, generator=torch.Generator().manual_seed(0))
KERNEL = torch.tensor([[1.0, 2.0, 1.0], [2.0, 4.0, 2.0], [1.0, 2.0, 1.0]]) / 16


class Net(nn.Module):
    """Two layers in a row, one beside them and one behind.

    A test says how they are put together.
    """

    def __init__(self, function: Callable[[Any, Tensor], Any], **modules: nn.Module) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.function = function
        self.a, self.b, self.c = (
            nn.Conv2d(3, 4, 3, padding=1),
            nn.Conv2d(4, 4, 1),
            nn.Conv2d(3, 4, 1),
        )
        self.out = nn.Conv2d(4, 2, 1)
        self.register_buffer("kernel", KERNEL.expand(4, 1, 3, 3).clone())
        for name, module in modules.items():
            self.add_module(name, module)

    def forward(self, x: Tensor) -> Any:
        return self.function(self, x)


def statistics(norm: nn.Module) -> tuple[Tensor, Tensor]:
    """The running mean and variance of a BatchNorm."""
    assert isinstance(norm, nn.BatchNorm2d)
    assert norm.running_mean is not None
    assert norm.running_var is not None
    return norm.running_mean, norm.running_var


def trained_norm(channels: int = 4) -> nn.BatchNorm2d:
    norm = nn.BatchNorm2d(channels)
    generator = torch.Generator().manual_seed(3)
    mean, variance = statistics(norm)
    with torch.no_grad():
        for tensor in (norm.weight, variance):
            tensor.copy_(torch.rand(channels, generator=generator) + 0.5)
        for tensor in (norm.bias, mean):
            tensor.copy_(torch.randn(channels, generator=generator) * 0.3)
    return norm


def unrounded(network: nn.Module) -> Any:
    """Quantised, with the ranges of the images, and nothing rounded."""
    model = quantize(network, Scheme(8, 8), IMAGES[:1])
    set_rounding(model, weights=False, activations=False)
    model.eval()
    model.get_submodule("quantizers").train()
    with torch.no_grad():
        model(IMAGES)
        for bound in model.get_submodule("quantizers").buffers():
            bound *= 1.5
    model.eval()
    return model


def gradients(network: Any) -> dict[str, Tensor | None]:
    """Of each parameter, by the name that it has in the float network."""
    network.zero_grad()
    network(IMAGES).square().mean().backward()
    found = {
        name: each.grad for name, each in network.named_parameters() if "quantizer" not in name
    }
    return {
        f"norm.{name.rpartition('.')[2]}" if ".bn." in name else name.replace(".layer.", "."): each
        for name, each in found.items()
    }


def same(network: nn.Module, reference: nn.Module | None = None, *, backward: bool = True) -> None:
    """As the network, or as another that writes nothing into what autograd needs."""
    model, reference = unrounded(network), network if reference is None else reference
    reference.eval()
    torch.testing.assert_close(model(IMAGES), reference(IMAGES), atol=1e-5, rtol=1e-4)
    found, wanted = gradients(model), gradients(reference) if backward else {}
    for name, gradient in wanted.items():
        moves = gradient is not None and bool(gradient.any())
        other = found.get(name)  # of a layer that is not called there is none
        assert (other is not None and bool(other.any())) == moves, name
        if moves:
            torch.testing.assert_close(other, gradient, atol=1e-5, rtol=1e-3)


def stopped_under_no_grad(net: Any, x: Tensor) -> Any:
    with torch.no_grad():
        held = torch.relu(net.b(torch.relu(net.a(x))))
    return net.out(held + torch.relu(net.c(x)))


def stopped_in_parts(net: Any, x: Tensor) -> Any:
    with torch.no_grad():
        first, second = torch.relu(net.a(x)).chunk(2, 1)
    return net.out(torch.cat([second, first], 1) + torch.relu(net.c(x)))


STOPPED = {
    "detach": lambda net, x: net.out(torch.relu(net.a(x)).detach() + torch.relu(net.c(x))),
    "detach in front of the activation": lambda net, x: net.out(
        torch.relu(net.a(x).detach()) + torch.relu(net.c(x))
    ),
    "torch.detach": lambda net, x: net.out(torch.detach(net.b(torch.relu(net.a(x)))) + net.c(x)),
    "data": lambda net, x: net.out(torch.relu(net.a(x)).data + torch.relu(net.c(x))),
    "no_grad": stopped_under_no_grad,
    "no_grad around a division": stopped_in_parts,
    "of the input": lambda net, x: net.out(torch.relu(net.a(x.detach())) + torch.relu(net.c(x))),
    "a gate that is not trained": lambda net, x: net.out(
        torch.relu(net.a(x)) * torch.sigmoid(net.c(x)).detach()
    ),
}


@pytest.mark.parametrize("name", STOPPED)
def test_a_stopped_gradient_stays_stopped(name: str) -> None:
    same(Net(STOPPED[name]))


def test_a_gradient_that_is_stopped_in_evaluation_only_is_trained() -> None:
    def forward(net: Any, x: Tensor) -> Any:
        with torch.set_grad_enabled(net.training):
            held = torch.relu(net.a(x))
        return net.out(held + torch.relu(net.c(x)))

    model = quantize(Net(forward).train(), Scheme(8, 8), IMAGES[:1])
    model(IMAGES).square().mean().backward()
    assert model.get_parameter("a.layer.weight").grad is not None


FIXED = {
    "a buffer": lambda net, x: net.out(
        F.conv2d(torch.relu(net.a(x)), net.kernel, stride=2, padding=1, groups=4)
    ),
    "made of a buffer": lambda net, x: net.out(
        F.conv2d(torch.relu(net.a(x)), net.kernel[:1].repeat(4, 1, 1, 1) * 2, groups=4)
    ),
    "made in the forward": lambda net, x: net.out(
        F.conv2d(torch.relu(net.a(x)), torch.ones(4, 1, 2, 2) / 4, groups=4)
    ),
    "for the channels that there are": lambda net, x: net.out(
        F.conv2d(
            torch.relu(net.a(x)),
            net.kernel[:1].expand(net.a(x).shape[1], 1, 3, 3),
            groups=net.a(x).shape[1],
        )
    ),
}


@pytest.mark.parametrize("name", FIXED)
def test_a_fixed_kernel_is_a_layer_that_is_not_trained(name: str) -> None:
    network = Net(FIXED[name])
    same(network)
    model = quantize(network, Scheme(8, 8), IMAGES[:1])
    layers = [module for module in model.modules() if isinstance(module, QuantLayer)]
    assert sum(not isinstance(layer.layer.weight, nn.Parameter) for layer in layers) == 1


def test_a_kernel_that_is_computed_of_parameters_is_refused_by_name() -> None:
    network = Net(
        lambda net, x: net.out(F.conv2d(x, net.a.weight / net.a.weight.norm(), padding=1))
    )
    with pytest.raises(UsageError, match="conv2d computes its own weight"):
        quantize(network, Scheme(8, 8), IMAGES[:1])


def batch_norm(net: Any, x: Tensor, training: bool) -> Tensor:
    norm = net.norm
    return F.batch_norm(
        x, norm.running_mean, norm.running_var, norm.weight, norm.bias, training, 0.1, norm.eps
    )


NORMS = {
    "behind a layer": lambda net, x: net.out(torch.relu(net.norm(net.a(x)))),
    "behind a factor": lambda net, x: net.out(torch.relu(net.norm(0.3 * net.a(x)))),
    "in front of a factor": lambda net, x: net.out(torch.relu(-0.3 * net.norm(net.a(x)))),
    "between two factors": lambda net, x: net.out(torch.relu(net.norm(net.a(x) / -4) * 3)),
    "called twice": lambda net, x: net.out(
        torch.relu(net.norm(net.b(torch.relu(net.norm(net.a(x))))))
    ),
    "on its own": lambda net, x: net.out(net.norm(torch.relu(net.a(x)))),
    "as a function": lambda net, x: net.out(torch.relu(batch_norm(net, net.a(x), training=False))),
    "of a sum": lambda net, x: net.out(torch.relu(net.norm(net.a(x) + net.c(x)))),
}


@pytest.mark.parametrize("name", NORMS)
def test_a_normalisation_computes_what_it_computed(name: str) -> None:
    same(Net(NORMS[name], norm=trained_norm()))


def test_a_frozen_normalisation_keeps_its_statistics_and_trains_nothing() -> None:
    norm = trained_norm()
    network = Net(NORMS["behind a layer"], norm=norm)
    norm.requires_grad_(False).eval()
    model: Any = quantize(network, Scheme(8, 8), IMAGES[:1])
    bn = model.get_submodule("a").bn
    assert not bn.training
    assert not bn.weight.requires_grad
    model(IMAGES)
    assert torch.equal(bn.running_mean, statistics(norm)[0])


def test_one_that_is_a_function_of_fixed_statistics_stays_so_in_training() -> None:
    network = Net(NORMS["as a function"], norm=trained_norm())
    model = quantize(network, Scheme(8, 8), IMAGES[:1]).train()
    bn: Any = model.get_submodule("a").bn
    before = bn.running_mean.clone()
    model(IMAGES)
    assert torch.equal(bn.running_mean, before)
    live = quantize(
        Net(lambda net, x: net.out(batch_norm(net, net.a(x), net.training)), norm=trained_norm()),
        Scheme(8, 8),
        IMAGES[:1],
    )
    live.train()(IMAGES)
    assert not torch.equal(statistics(live.get_submodule("a.bn"))[0], before)


def test_one_that_two_layers_share_follows_both_as_it_did() -> None:
    network = Net(NORMS["called twice"], norm=trained_norm()).train()
    model = quantize(network, Scheme(8, 8), IMAGES[:1]).train()
    set_rounding(model, weights=False, activations=False)
    for _ in range(3):
        model(IMAGES)
        network(IMAGES)
    shared = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    assert len(shared) == 1
    torch.testing.assert_close(
        statistics(shared[0])[0],
        statistics(network.get_submodule("norm"))[0],
        atol=1e-4,
        rtol=1e-3,
    )


IN_PLACE: dict[str, Callable[[], nn.Module]] = {
    "drop-out": lambda: nn.Dropout(0.5, inplace=True),
    "drop-out of channels": lambda: nn.Dropout2d(0.5, inplace=True),
    "alpha drop-out": lambda: nn.AlphaDropout(0.5, inplace=True),
    "ReLU": lambda: nn.ReLU(inplace=True),
    "ReLU6": lambda: nn.ReLU6(inplace=True),
    "leaky ReLU": lambda: nn.LeakyReLU(0.1, inplace=True),
    "SiLU": lambda: nn.SiLU(inplace=True),
    "Hardswish": lambda: nn.Hardswish(inplace=True),
    "Hardsigmoid": lambda: nn.Hardsigmoid(inplace=True),
    "Hardtanh": lambda: nn.Hardtanh(inplace=True),
    "ELU": lambda: nn.ELU(inplace=True),
    "Mish": lambda: nn.Mish(inplace=True),
}


@pytest.mark.parametrize("name", IN_PLACE)
@pytest.mark.parametrize("place", ["behind a layer", "behind a quantiser", "in a row"])
def test_a_module_that_works_in_place_trains_and_computes_the_same(name: str, place: str) -> None:
    def forward(net: Any, x: Tensor) -> Any:
        y = net.a(x) if place == "behind a layer" else torch.relu(net.a(x))
        return net.out(net.act(net.act(y)) if place == "in a row" else net.act(y))

    network = Net(forward, act=IN_PLACE[name]())
    elsewhere = copy.deepcopy(network)
    act: Any = elsewhere.get_submodule("act")
    act.inplace = False
    same(network, elsewhere)
    model = quantize(network, Scheme(8, 8), IMAGES[:1]).train()
    for _ in range(2):
        model(IMAGES).sum().backward()
    assert network.get_submodule("act").inplace, "the network's own is left as it is"


def added(net: Any, x: Tensor) -> Any:
    y = torch.relu(net.a(x))
    y += net.c(x)
    y *= 0.5
    return net.out(y)


FUNCTIONS_IN_PLACE = {
    "relu_": lambda net, x: net.out(torch.relu_(net.a(x))),
    "a method": lambda net, x: net.out(net.a(x).relu_().clamp_(0, 3)),
    "an option": lambda net, x: net.out(F.hardswish(F.relu6(net.a(x), True), inplace=True)),
    "augmented sums": added,
    "add_": lambda net, x: net.out(torch.relu(net.a(x)).add_(net.c(x)).mul_(0.5)),
    "drop-out": lambda net, x: net.out(
        F.dropout(torch.relu(net.a(x)), 0.5, net.training, inplace=True)
    ),
}


@pytest.mark.parametrize("name", FUNCTIONS_IN_PLACE)
def test_a_function_that_works_in_place_does_too(name: str) -> None:
    # autograd takes only some of them behind a ReLU
    same(Net(FUNCTIONS_IN_PLACE[name]), backward=False)
    quantize(Net(FUNCTIONS_IN_PLACE[name]), Scheme(8, 8), IMAGES[:1]).train()(
        IMAGES
    ).sum().backward()


def test_what_is_written_into_is_read_as_written() -> None:
    def forward(net: Any, x: Tensor) -> Any:
        y = net.a(x)
        z = F.relu(y, inplace=True)
        return net.out(y + z)

    same(Net(forward), Net(lambda net, x: net.out(2 * torch.relu(net.a(x)))))


def test_a_part_that_is_read_after_the_whole_was_written_into_is_refused() -> None:
    def forward(net: Any, x: Tensor) -> Any:
        y = torch.relu(net.a(x))
        part = y[:, :2]
        y.mul_(2)
        return net.out(torch.cat([part, part], 1) + y)

    with pytest.raises(UsageError, match="writes into"):
        quantize(Net(forward), Scheme(8, 8), IMAGES[:1])
