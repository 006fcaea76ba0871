"""Any network becomes a graph of few operators that computes the same, however it is written."""

from __future__ import annotations

import operator
from typing import TYPE_CHECKING, Any

import pytest
import torch
from tests.support.models.blocks import CLASSES, DropPath, NormAct, SamePadded, conv_bn
from tests.support.models.families import FAMILIES, PARTLY_FLOAT, plain
from torch import Tensor, fx, nn
from torch.nn import functional as F

import edgeq
from edgeq.errors import UsageError
from edgeq.training.qat_transform.normal_form.function_groups import groups_of
from edgeq.training.qat_transform.only_in_training import OnlyInTraining
from edgeq.training.qat_transform.tracing import trace

if TYPE_CHECKING:
    from collections.abc import Callable

FLAT_TWICE = (torch.flatten, torch.unflatten) * 2
NETWORKS = FAMILIES | PARTLY_FLOAT
IMAGES = torch.randn(5, 3, 16, 16, generator=torch.Generator().manual_seed(0))


class Free(nn.Module):
    """Whatever a test wants."""

    def __init__(self, function: Callable[[Any, Tensor], Any], **modules: nn.Module) -> None:
        super().__init__()
        self.function = function
        for name, module in modules.items():
            self.add_module(name, module)

    def forward(self, x: Tensor) -> Any:
        return self.function(self, x)


def targets(graph_module: fx.GraphModule) -> list[Any]:
    modules = dict(graph_module.named_modules())
    called = [node for node in graph_module.graph.nodes if node.op.startswith("call_")]
    return [
        type(modules[str(node.target)]) if node.op == "call_module" else node.target
        for node in called
    ]


@pytest.mark.parametrize("name", NETWORKS)
def test_it_computes_the_same(name: str) -> None:
    torch.manual_seed(0)
    model = NETWORKS[name]()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.get_buffer("running_mean"))
    graph_module = trace(model, IMAGES[:1])
    assert graph_module.training
    with torch.no_grad():
        found, expected = graph_module.eval()(IMAGES), model.eval()(IMAGES)
    # three roundings in a row have become two; sums in another order
    if name in ("normalizing", "mixer", "convnext"):
        torch.testing.assert_close(found, expected)
    else:
        assert torch.equal(found, expected)
    assert not [node for node in graph_module.graph.nodes if node.op in ("call_method", "get_attr")]


OTHER_AXES = {"layer scale": 2, "mixer": 3, "convnext": 4}
"""How many parameters of a network have the axes that a normalisation or a convolution has."""


@pytest.mark.parametrize("name", NETWORKS)
def test_its_parameters_are_the_networks_own(name: str) -> None:
    model = NETWORKS[name]()
    before = {id(parameter) for parameter in model.parameters()}
    after = [id(parameter) for parameter in trace(model, IMAGES).parameters()]
    assert len(after) == len(set(after))
    if name == "auxiliary":
        assert set(after) < before
    elif name in OTHER_AXES:
        assert len(set(after) - before) == OTHER_AXES[name]
    else:
        assert set(after) == before


@pytest.mark.parametrize("name", NETWORKS)
def test_a_traced_network_can_be_traced_again(name: str) -> None:
    torch.manual_seed(0)
    once = trace(NETWORKS[name](), IMAGES)
    again = trace(once, IMAGES)
    assert targets(again) == targets(once)
    assert {id(parameter) for parameter in again.parameters()} == {
        id(parameter) for parameter in once.parameters()
    }


def test_layers_called_as_functions_leave_other_modules_alone() -> None:
    class Own(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer_norm, self.gain, self.shift = (
                nn.LayerNorm(16),
                nn.Parameter(torch.rand(16)),
                nn.Parameter(torch.rand(16)),
            )
            self.weight = nn.Parameter(torch.rand(5, 16))

        def forward(self, x: Tensor) -> Tensor:
            x = self.layer_norm(F.layer_norm(x, (16,)))
            return F.linear(F.layer_norm(x, (16,), self.gain, self.shift), self.weight)

    network = Own()
    traced = trace(network, IMAGES)
    torch.testing.assert_close(traced(IMAGES), network(IMAGES))
    assert len(list(traced.parameters())) == len(list(network.parameters()))


def test_modes_are_left_alone() -> None:
    model = FAMILIES["mobilenetv3"]().train()
    next(model.children()).eval()
    before = [module.training for module in model.modules()]
    trace(model, IMAGES)
    assert [module.training for module in model.modules()] == before


@pytest.mark.parametrize(
    "function",
    [
        lambda net, x: F.relu(x, inplace=True) + x,
        lambda net, x: x.mul_(2.0) + x,
        lambda net, x: torch.relu_(x) + x,
        lambda net, x: net.act(x) + x,
        lambda net, x: net.act(net.act(x) - (y := x - 1.0)) + net.act(y) * y,
    ],
)
def test_what_works_in_place_is_seen_by_later_readers(
    function: Callable[[Any, Tensor], Any],
) -> None:
    model = Free(function, act=nn.ReLU(inplace=True))
    expected = model(IMAGES.clone())
    given = IMAGES.clone()
    assert torch.equal(trace(model)(given), expected)
    assert torch.equal(given, IMAGES), "nothing works in place any more"


def test_a_sum_in_place_changes_its_other_name() -> None:
    def doubled(_: Any, x: Tensor) -> Tensor:
        y = kept = x * 1.0
        y += x
        return kept

    model = Free(doubled)
    assert torch.equal(trace(model)(IMAGES), 2 * IMAGES)


def test_layers_called_as_functions_are_modules_at_their_path() -> None:
    found = trace(plain(NormAct(8), SamePadded(8, 8, 3, 2)), IMAGES)
    assert isinstance(found.get_submodule("1.batch_norm"), nn.BatchNorm2d)
    assert type(found.get_submodule("2")) is nn.Conv2d
    assert [node.name for node in found.graph.nodes if str(node.target) == "2"] == ["_2"]


def test_what_drops_paths_stays_and_is_silent_in_evaluation() -> None:
    found = trace(Free(lambda net, x: net.drop(x) + x, drop=DropPath(0.5)), IMAGES).train()
    assert isinstance(found.get_submodule("drop"), OnlyInTraining)
    torch.manual_seed(0)
    assert not torch.equal(found(IMAGES), 2 * IMAGES)
    assert torch.equal(found.eval()(IMAGES), 2 * IMAGES)


def test_what_drops_no_path_is_told_by_others_of_its_type() -> None:
    class Idle(DropPath):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x) if self.probability else x

    blocks = {"idle": Idle(0.0), "active": Idle(0.5)}
    found = trace(Free(lambda net, x: net.active(net.idle(x)), **blocks), IMAGES)
    assert all(isinstance(found.get_submodule(name), OnlyInTraining) for name in blocks)
    alone = trace(Free(lambda net, x: net.idle(x) + x, idle=Idle(0.0)), IMAGES)
    assert torch.equal(alone(IMAGES), 2 * IMAGES)


def test_adaptive_pooling_to_a_multiple_of_the_image_repeats_pixels() -> None:
    images = IMAGES[..., :2, :2]
    found = trace(nn.Sequential(nn.AdaptiveAvgPool2d((4, 6))), images)
    assert targets(found) == [F.interpolate]
    assert torch.equal(found(images), F.adaptive_avg_pool2d(images, (4, 6)))


def test_adaptive_pooling_to_any_size_is_a_product_with_a_constant() -> None:
    found = trace(nn.Sequential(nn.AdaptiveAvgPool2d((5, 16))), IMAGES)
    assert targets(found) == [torch.permute, torch.matmul, torch.permute]
    torch.testing.assert_close(found(IMAGES), F.adaptive_avg_pool2d(IMAGES, (5, 16)))


def test_what_depends_on_the_parity_of_a_size_does_not_pass_for_drop_out() -> None:
    class Even(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return F.pad(x, (0, 1)) if x.shape[-1] % 2 else x

    odd = IMAGES[..., :15]
    assert trace(Free(lambda net, x: net.even(x), even=Even()), odd)(odd).shape[-1] == 16


def test_drop_out_as_a_function_drops_in_training_only() -> None:
    found = trace(Free(lambda net, x: F.dropout(x, 0.5, net.training)), IMAGES)
    assert targets(found) == [nn.Dropout]
    assert torch.equal(found.eval()(IMAGES), IMAGES)
    assert float((found.train()(IMAGES) == 0).float().mean()) == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (lambda net, x: x.mean((2, 3)), [F.adaptive_avg_pool2d, torch.flatten]),
        (lambda net, x: x.mean([-1, -2], keepdim=True), [F.adaptive_avg_pool2d]),
        (lambda net, x: x.flatten(2).mean(-1), [F.adaptive_avg_pool2d, torch.flatten]),
        (lambda net, x: x.view(x.size(0), 3, -1).mean([2]), [F.adaptive_avg_pool2d, torch.flatten]),
        (lambda net, x: x.permute(0, 2, 3, 1).mean((1, 2)), [F.adaptive_avg_pool2d, torch.flatten]),
        (
            lambda net, x: x.flatten(2).transpose(1, 2).mean(1),
            [*(torch.flatten, torch.unflatten) * 2, F.adaptive_avg_pool2d, torch.flatten],
        ),
        (lambda net, x: x.amax((2, 3)), [F.adaptive_max_pool2d, torch.flatten]),
        (lambda net, x: x.view(x.size(0), -1), [torch.flatten]),
        (lambda net, x: x.reshape(x.shape[0], 3, 4, 64), [torch.flatten, torch.unflatten]),
        (lambda net, x: torch.split(x, [1, 2], 1)[1], [operator.getitem]),
        (lambda net, x: x.chunk(3, dim=1)[-1], [operator.getitem]),
        (lambda net, x: x[..., 1:-1], [operator.getitem]),
        (lambda net, x: x[:, 1], [operator.getitem, torch.flatten, torch.unflatten]),
        (lambda net, x: x[:, -1, ..., 2], [operator.getitem, torch.flatten]),
        (lambda net, x: x[:, :, None, ::2], [operator.getitem, torch.flatten, torch.unflatten]),
        (
            lambda net, x: x.mean((2, 3))[:, :, None, None],
            [F.adaptive_avg_pool2d, torch.flatten, torch.unflatten],
        ),
        (lambda net, x: x.permute(0, 2, 3, 1), [torch.permute]),
        (lambda net, x: torch.permute(x, (0, -1, 1, 2)), [torch.permute]),
        (lambda net, x: F.interpolate(x, scale_factor=(2, 3)), [F.interpolate]),
        (lambda net, x: F.interpolate(x, (32, 16), mode="nearest-exact"), [F.interpolate]),
        (lambda net, x: x.contiguous().clone().detach(), []),
        (lambda net, x: F.adaptive_avg_pool2d(x, 8), [F.avg_pool2d]),
        (lambda net, x: F.adaptive_avg_pool2d(x, (16, None)), []),
        (lambda net, x: F.avg_pool2d(x, 2, ceil_mode=True), [F.avg_pool2d]),
        (lambda net, x: F.avg_pool2d(x, 3, 1, 1), [F.pad, F.avg_pool2d]),
        (
            lambda net, x: F.max_pool2d(x.relu(), 3, 2, ceil_mode=True),
            [torch.relu, F.pad, F.max_pool2d],
        ),
        (
            lambda net, x: F.max_pool2d(x.sigmoid(), 3, 4, 1, ceil_mode=True),
            [torch.sigmoid, F.pad, F.max_pool2d],
        ),
    ],
)
def test_one_spelling_for_each_meaning(
    function: Callable[[Any, Tensor], Any], expected: list[Any]
) -> None:
    model = Free(function)
    found = trace(model, IMAGES)
    assert targets(found) == expected
    assert torch.equal(found(IMAGES), model(IMAGES))


def test_a_mean_of_means_is_the_mean_of_the_image() -> None:
    model = Free(lambda net, x: x.mean(3).mean(2))
    found = trace(model, IMAGES)
    assert targets(found) == [F.adaptive_avg_pool2d, torch.flatten]
    torch.testing.assert_close(found(IMAGES), model(IMAGES))


@pytest.mark.parametrize(
    ("module", "function"),
    [
        (nn.ZeroPad2d((1, 0, 2, 3)), F.pad),
        (nn.Unflatten(2, (4, 4)), torch.unflatten),
        (nn.Flatten(2), torch.unflatten),
        (nn.Upsample(size=(32, 48)), F.interpolate),
        (nn.UpsamplingNearest2d(scale_factor=2), F.interpolate),
        (nn.Upsample(scale_factor=(2, 4), mode="bilinear"), F.interpolate),
    ],
)
def test_modules_that_hold_options_only_are_functions(module: nn.Module, function: Any) -> None:
    found = trace(Free(lambda net, x: net.module(x), module=module), IMAGES)
    assert targets(found)[-1] is function
    assert torch.equal(found(IMAGES), module(IMAGES))


def test_without_an_example_sizes_are_still_understood_where_they_say_enough() -> None:
    assert torch.equal(trace(Free(lambda net, x: x.view(x.size(0), -1)))(IMAGES), IMAGES.flatten(1))
    assert torch.equal(
        trace(Free(lambda net, x: x.reshape(x.shape[0], -1)))(IMAGES), IMAGES.flatten(1)
    )


@pytest.mark.parametrize(
    ("function", "example", "message"),
    [
        (lambda net, x: x if x.shape[-1] > 8 else -x, None, "cannot trace Free"),
        (lambda net, x: x if x.sum() > 0 else -x, IMAGES, "cannot trace Free"),
        (lambda net, x: x.chunk(3, 1)[0], None, "unknown size"),
        (lambda net, x: x.reshape(-1), IMAGES, "moves the batch's axis"),
        (lambda net, x: F.conv2d(x, net.conv.weight * 2), IMAGES, "computes its own weight"),
        (
            lambda net, x: F.interpolate(x, scale_factor=2, mode="bicubic"),
            None,
            "by mode bicubic, which cannot be quantised",
        ),
        (
            lambda net, x: F.interpolate(x, scale_factor=3, mode="bilinear"),
            None,
            "by points that depend on a size which is not known",
        ),
        (
            lambda net, x: F.interpolate(x, 32),
            None,
            "resizes to 32, which is no known whole multiple",
        ),
        (lambda net, x: x, torch.tensor(1.0), "not a batch"),
        (
            lambda net, x: net.nowhere(x),
            IMAGES,
            r"Free cannot read an example of \(batch, 3, 16, 16\): .* no attribute 'nowhere'",
        ),
        (
            lambda net, x: net.conv(x),
            IMAGES[:, :2],
            r"Free cannot read an example of \(batch, 2, 16, 16\): Given groups=1",
        ),
    ],
)
def test_what_cannot_be_followed_is_told(
    function: Callable[[Any, Tensor], Any], example: Tensor | None, message: str
) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        trace(Free(function, conv=nn.Conv2d(3, 4, 1)), example)
    assert caught.value.hint


class TestFunctionsTogether:
    @pytest.mark.parametrize(
        ("function", "members"),
        [
            (lambda net, x: x * torch.sigmoid(x), 2),
            (lambda net, x: x * F.relu6(x + 3) / 6, 4),
            (lambda net, x: x * torch.tanh(F.softplus(x)), 3),
            (lambda net, x: torch.sigmoid(x) * torch.tanh(x), 3),
            (lambda net, x: net.act(x), 1),
            (lambda net, x: 1 - x, 1),
        ],
    )
    def test_what_depends_on_one_tensor_is_one_function(
        self, function: Callable[[Any, Tensor], Any], members: int
    ) -> None:
        groups = groups_of(
            trace(
                Free(
                    lambda net, x: function(net, net.conv(x)),
                    conv=nn.Conv2d(3, 4, 1),
                    act=nn.SiLU(),
                ),
                IMAGES,
            )
        )
        assert [len(group.members) for group in groups.values()] == [members]
        assert [group.source.name for group in groups.values()] == ["conv"]

    @pytest.mark.parametrize(
        ("function", "found"),
        [
            (lambda net, x: x.relu(), 0),
            (lambda net, x: torch.sigmoid(x) * net.conv(x), 1),
            (lambda net, x: [x * (y := torch.sigmoid(x)), y], 1),
            (lambda net, x: x * 2 + torch.tanh(x), 2),
        ],
    )
    def test_what_others_read_is_stored(
        self, function: Callable[[Any, Tensor], Any], found: int
    ) -> None:
        groups = groups_of(trace(Free(function, conv=nn.Conv2d(3, 3, 1)), IMAGES))
        assert len(groups) == found
        assert all(len(group.members) == 1 for group in groups.values())

    @pytest.mark.parametrize(
        ("function", "not_negative"),
        [
            (lambda net, x: x.sigmoid() / 2, True),
            (lambda net, x: F.relu6(x + 3) / 6, True),
            (lambda net, x: x.sigmoid() - 0.5, False),
            (lambda net, x: x.sigmoid() * -1, False),
            (lambda net, x: F.hardtanh(x, 0.5, 2.0), True),
            (lambda net, x: F.hardtanh(x), False),
            (lambda net, x: F.silu(x), False),
            (lambda net, x: x.sigmoid() * x.exp(), True),
        ],
    )
    def test_signs_are_known(
        self, function: Callable[[Any, Tensor], Any], not_negative: bool
    ) -> None:
        (group,) = groups_of(trace(Free(function), IMAGES)).values()
        assert group.not_negative is not_negative


class Asserting(nn.Module):
    """Asserts something of an option, as timm's attention does."""

    def forward(self, x: Tensor, causal: bool = False) -> Tensor:
        torch._assert(causal == False, "not causal")  # noqa: E712  # what is traced is no bool
        return torch.relu(x)


def test_an_assertion_of_an_option_is_left_out() -> None:
    assert targets(trace(Asserting(), IMAGES[:1])) == [torch.relu]


def test_the_output_has_the_classes() -> None:
    assert trace(plain(conv_bn(8, 8)), IMAGES)(IMAGES).shape == (5, CLASSES)


@pytest.mark.parametrize(
    "softmax",
    [
        lambda x: F.softmax(x, dim=-1),
        lambda x: F.softmax(x, 2),
        lambda x: F.softmax(input=x, dim=-1),
        lambda x: F.softmax(x, dim=-1, dtype=torch.float32),
        lambda x: torch.softmax(x, -1),
        lambda x: x.softmax(-1),
        lambda x: F.log_softmax(x, dim=-1).exp(),
    ],
)
def test_a_softmax_may_be_written_in_any_way(softmax: Callable[[Tensor], Tensor]) -> None:
    class Weighted(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return softmax(x @ x.transpose(1, 2)) @ x

    x = torch.randn(4, 5, 6, generator=torch.Generator().manual_seed(0))
    model: Any = edgeq.quantize(Weighted(), edgeq.Scheme(), x)
    model.train()(x)
    with torch.no_grad():
        assert torch.allclose(model.eval()(x), Weighted()(x), atol=0.1)
