"""Quantisers enter a user's network and keep its names, its weights and what is tied."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F

from edgeq.calibration.observe import session_of
from edgeq.errors import UsageError
from edgeq.exporters.torch.lower import lower
from edgeq.models import zoo
from edgeq.models.mobilenet_v2 import MobileNetV2, Stage
from edgeq.models.stability.symmetric import margins
from edgeq.training.layers import QuantLayer, WeightQuantizer
from edgeq.training.qat_transform import quantize, quantizers, set_bits, set_rounding
from edgeq.training.qat_transform.tracing import trace
from edgeq.training.quantizers.learned_clip import LearnedClip
from edgeq.training.quantizers.tracked_clip import TrackedClip
from edgeq.training.recipes.scheme import Scheme

if TYPE_CHECKING:
    from collections.abc import Callable

IMAGE = torch.randn(2, 3, 12, 12, generator=torch.Generator().manual_seed(0))
NETWORKS = [
    "resnet8",
    "resnet20",
    "resnet8-a",
    "stable-resnet8",
    "stable-resnet8-certified",
    "dws-convnet-he-nogamma",
    "mlp5",
]
SCHEMES = [Scheme(4, 4), Scheme(4, 8), Scheme(8, 8), Scheme(4, 4, placement="paper")]


def small(name: str = "stable-resnet8", scheme: Scheme | None = None) -> fx.GraphModule:
    torch.manual_seed(0)
    model = quantize(zoo.build(name, classes=10), scheme or Scheme(4, 4))
    model.train()(IMAGE)
    return model.eval()


def bounds(model: nn.Module) -> list[Tensor]:
    """Every learned or tracked bound."""
    return [
        tensor
        for name, tensor in [*model.named_parameters(), *model.named_buffers()]
        if name.endswith("alpha")
    ]


class Net(nn.Module):
    """Whatever a test wants between two layers."""

    def __init__(self, middle: Callable[[Any, Tensor], Tensor], **modules: nn.Module) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 4, 3, padding=1)
        self.inner = nn.Conv2d(4, 4, 3, padding=1)
        self.last = nn.Linear(4, 5)
        self.middle = middle
        for name, module in modules.items():
            self.add_module(name, module)

    def forward(self, x: Tensor) -> Tensor:
        y = self.middle(self, torch.relu(self.first(x)))
        out: Tensor = self.last(torch.flatten(F.adaptive_avg_pool2d(y, 1), 1))
        return out


class TestZoo:
    @pytest.mark.parametrize(
        "scheme", SCHEMES, ids=lambda scheme: f"{scheme.name} {scheme.placement}"
    )
    @pytest.mark.parametrize("name", NETWORKS)
    def test_every_network_is_traced_quantised_and_keeps_its_parameters(
        self, name: str, scheme: Scheme
    ) -> None:
        model = zoo.build(name, classes=10)
        quantized = quantize(model, scheme)
        weights = dict(model.named_parameters())
        found = {
            key.replace(".layer.", "."): value
            for key, value in quantized.named_parameters()
            if "alpha" not in key
        }
        convolutions = {key for key in weights if "bn" not in key}
        assert convolutions == {key for key in found if "bn" not in key}
        assert all(torch.equal(found[key], weights[key]) for key in convolutions)
        bounds = sum(value.numel() for key, value in quantized.named_parameters() if "alpha" in key)
        assert sum(p.numel() for p in quantized.parameters()) - bounds == sum(
            p.numel() for p in model.parameters()
        )

    def test_the_papers_count_of_bounds(self) -> None:
        """Stable ResNet-56: 27 operators, each with a bound for its weights and two activations."""
        model = quantize(
            zoo.build("stable-resnet56", classes=10),
            Scheme(4, 4, placement="paper", normalize_weights=True),
        )
        assert sum(isinstance(quantizer, LearnedClip) for quantizer in quantizers(model)) == 81

    def test_the_papers_block_of_mobilenet(self) -> None:
        """Two bounds of activations and two of normalised weights in each stable block."""
        torch.manual_seed(0)
        stages = (Stage(4, 4, 3, 1, 2),)
        network = MobileNetV2("released", classes=10, stages=stages, last_width=16)
        model = quantize(network, Scheme(4, 4, placement="paper", normalize_weights=True))
        layers = {path: m for path, m in model.named_modules() if isinstance(m, QuantLayer)}
        stable = [layer for path, layer in layers.items() if path.startswith("stages.0.1.")]
        assert len(stable) == 4
        assert all(layer.quantizer.normalize for layer in stable)
        assert len({layer.quantizer for layer in stable}) == 2
        assert [layer.source is None for layer in stable] == [False, True, False, True]
        assert len(list(model.get_submodule("quantizers").children())) == 3 + 2 * 2 + 1
        model(IMAGE)
        model.eval()
        session = session_of(lower(model, tuple(IMAGE.shape[1:])), exact=True)
        found = session.run((), {session.entries[0]: IMAGE.numpy()})[0]
        torch.testing.assert_close(torch.from_numpy(found), model(IMAGE).detach())

    @pytest.mark.parametrize("name", ["resnet8", "resnet8-a", "stable-resnet8"])
    def test_without_rounding_and_with_wide_bounds_it_is_the_float_network(self, name: str) -> None:
        """Nothing but quantisers was put in: the graph computes what the network computes."""
        torch.manual_seed(0)
        model = zoo.build(name, classes=10).eval()
        quantized = quantize(model, Scheme(8, 8, affine=False)).eval()
        for quantizer in quantizers(quantized):
            quantizer.rounding = False
        for bound in bounds(quantized):
            bound.data.fill_(1e4)
        torch.testing.assert_close(quantized(IMAGE), model(IMAGE), atol=1e-4, rtol=1e-4)

    def test_the_users_network_is_left_alone(self) -> None:
        model = zoo.build("stable-resnet8", classes=10)
        before = copy.deepcopy(model.state_dict())
        quantize(model, Scheme(4, 4)).train()(IMAGE)
        assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
        assert not any(isinstance(module, QuantLayer) for module in model.modules())


class TestCertificates:
    @pytest.mark.parametrize("name", ["resnet", "mobilenet"])
    @pytest.mark.parametrize("placement", ["integer", "paper"])
    def test_the_quantised_network_keeps_the_promise(self, name: str, placement: Any) -> None:
        torch.manual_seed(0)
        stages = (Stage(4, 4, 2, 1, 2), Stage(4, 6, 1, 2, 2))
        mobilenet = MobileNetV2("paper", classes=10, mode="certified", stages=stages, last_width=16)
        network = (
            mobilenet if name == "mobilenet" else zoo.build("stable-resnet8-certified", classes=10)
        )
        model = quantize(network, Scheme(4, 4, placement=placement)).train()
        wild = {
            path: module
            for path, module in model.named_modules()
            if isinstance(module, QuantLayer) and hasattr(module, "step_bound")
        }
        assert len(wild) == 3
        for layer in wild.values():
            assert layer.bn is not None
            nn.init.normal_(layer.bn.weight, 0, 50)
        assert max(margins(model).values()) > 1
        assert max(margins(copy.deepcopy(model).eval()).values()) <= 1

    def test_what_is_exported_does_not_expand(self) -> None:
        """``h |K'|^2`` is the norm of two exported layers in a row, ``F K`` and ``-h K^T``."""
        torch.manual_seed(0)
        model = quantize(zoo.build("stable-resnet8-certified", classes=10), Scheme(4, 4)).train()
        k, kt = (model.get_submodule(f"stages.0.0.{name}") for name in ("conv", "conv_transpose"))
        assert isinstance(k, QuantLayer)
        assert isinstance(kt, QuantLayer)
        assert k.bn is not None
        nn.init.uniform_(k.bn.weight, 5, 50)
        stored = [layer.integer_weights() for layer in (k, kt) if layer.eval()]
        first, second = (
            torch.from_numpy(one.weight_params.dequantize(one.weight)).double() for one in stored
        )
        basis = torch.eye(16 * 25, dtype=torch.float64).reshape(-1, 16, 5, 5)
        product = F.conv2d(F.conv2d(basis, first, padding=1), second, padding=1).flatten(1)
        assert 0.5 < float(torch.linalg.eigvals(product).abs().max()) <= 2


class TestTies:
    def pair(self, model: nn.Module) -> tuple[QuantLayer, QuantLayer]:
        k, kt = (model.get_submodule(f"stages.0.0.{name}") for name in ("conv", "conv_transpose"))
        assert isinstance(k, QuantLayer)
        assert isinstance(kt, QuantLayer)
        return k, kt

    def tied(self, model: nn.Module) -> bool:
        k, kt = self.pair(model)
        return k.layer.weight is kt.layer.weight and k.quantizer is kt.quantizer

    def test_k_and_its_transpose_share_weight_and_quantiser(self) -> None:
        assert self.tied(small())

    def test_they_stay_tied_in_a_copy_and_after_moving_and_loading(self) -> None:
        model = small()
        assert self.tied(copy.deepcopy(model))
        assert self.tied(copy.deepcopy(model).double())
        other = small()
        other.load_state_dict(model.state_dict())
        assert self.tied(other)

    def test_they_stay_tied_in_training(self) -> None:
        model = small().train()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        model(IMAGE).sum().backward()
        optimizer.step()
        k, kt = self.pair(model.eval())
        assert self.tied(model)
        stored = k.integer_weights().weight.astype(int), kt.integer_weights().weight.astype(int)
        assert (abs(stored[0].transpose(1, 0, 2, 3)[:, :, ::-1, ::-1]) == abs(stored[1])).all()

    def test_the_step_is_a_gain_and_the_difference_a_sum(self) -> None:
        model = small()
        _, kt = self.pair(model)
        assert kt.gain == -0.1
        names = {
            getattr(node.target, "__name__", "")
            for node in model.graph.nodes
            if node.op == "call_function"
        }
        assert "add" in names
        assert not names & {"sub", "mul"}


class TestCopies:
    def test_a_copy_computes_the_same_and_is_independent(self) -> None:
        model = small()
        twin = copy.deepcopy(model)
        assert torch.equal(model(IMAGE), twin(IMAGE))
        for bound in bounds(twin):
            bound.data.mul_(0.5)
        before = model(IMAGE)
        assert not torch.equal(before, twin(IMAGE))

    def test_the_copys_biases_follow_the_copys_grids(self) -> None:
        twin = copy.deepcopy(small(scheme=Scheme(4, 4, normalize_weights=True)))
        layer = twin.get_submodule("stages.0.0.conv")
        assert isinstance(layer, QuantLayer)
        before = layer.integer_weights().bias_params
        own = layer.quantizer.clip
        assert isinstance(own, LearnedClip)
        for bound in bounds(twin):
            bound.data.mul_(0.5) if bound is not own.alpha else None
        after = layer.integer_weights().bias_params
        assert before is not None
        assert after is not None
        assert (after.scale == before.scale / 2).all()

    @pytest.mark.parametrize("name", ["resnet8", "resnet8-a", "stable-resnet8"])
    def test_a_state_dict_carries_everything(self, name: str) -> None:
        model, other = small(name), quantize(zoo.build(name, classes=10), Scheme(4, 4)).eval()
        assert not torch.equal(model(IMAGE), other(IMAGE))
        other.load_state_dict(model.state_dict())
        assert torch.equal(model(IMAGE), other(IMAGE))


class TestQuantisers:
    def test_published_bounds_and_kinds(self) -> None:
        model = quantize(zoo.build("resnet8", classes=10), Scheme(4, 4, normalize_weights=True))
        weights = [module for module in model.modules() if isinstance(module, WeightQuantizer)]
        inner = [module.clip for module in weights if module.normalize]
        found = {
            (clip.alpha.item(), clip.narrow_range, clip.signed)
            for clip in inner
            if isinstance(clip, LearnedClip)
        }
        assert found == {(3.0, True, True)}
        assert all(isinstance(clip, LearnedClip) for clip in inner)
        activations: Any = model.get_submodule("quantizers")
        learned = {
            clip.alpha.item() for clip in activations.values() if isinstance(clip, LearnedClip)
        }
        assert learned == {6.0}
        assert isinstance(activations["x"], TrackedClip)
        assert activations["x"].signed

    def test_layers_without_batch_norm_keep_their_scale(self) -> None:
        model = quantize(zoo.build("resnet8", classes=10), Scheme(4, 4))
        head = model.get_submodule("classifier")
        assert isinstance(head, QuantLayer)
        assert not head.quantizer.normalize
        assert head.quantizer.clip.bits == 8

    def test_edges_share_the_grid_in_a_concatenation(self) -> None:
        model = quantize(zoo.build("stable-resnet8", classes=10), Scheme(4, 8))
        join = next(node for node in model.graph.nodes if node.target is torch.cat)
        grids = {str(node.target) for node in join.all_input_nodes if node.op == "call_module"}
        assert len(grids) == 1

    def test_set_bits_holds_them_above_their_target(self) -> None:
        model = small(scheme=Scheme(4, 6))
        targets = {id(quantizer): quantizer.bits for quantizer in quantizers(model)}
        assert set(targets.values()) == {4, 6, 8}
        set_bits(model, 5)
        assert {quantizer.bits for quantizer in quantizers(model)} == {5, 6, 8}
        set_bits(model, 16)
        assert {quantizer.bits for quantizer in quantizers(model)} == {16}
        assert torch.isfinite(model(IMAGE)).all()
        set_bits(model, None)
        assert {id(quantizer): quantizer.bits for quantizer in quantizers(model)} == targets

    @pytest.mark.parametrize("bits", ["8", 0, -1, 4.0, True])
    def test_set_bits_takes_widths_only(self, bits: Any) -> None:
        with pytest.raises(UsageError, match="the width is"):
            set_bits(small(), bits)

    def test_set_rounding_tells_weights_from_activations(self) -> None:
        model = small()
        of_weights = {
            module.clip for module in model.modules() if isinstance(module, WeightQuantizer)
        }
        for weights, activations in ((True, False), (False, True), (False, False), (True, True)):
            set_rounding(model, weights=weights, activations=activations)
            assert {clip.rounding for clip in of_weights} == {weights}
            assert {clip.rounding for clip in quantizers(model) if clip not in of_weights} == {
                activations
            }

    def test_rounding_off_changes_the_answer_and_on_restores_it(self) -> None:
        model = small()
        before = model(IMAGE)
        set_rounding(model, weights=False, activations=False)
        assert not torch.equal(model(IMAGE), before)
        set_rounding(model, weights=True, activations=True)
        assert torch.equal(model(IMAGE), before)


class TestErrorsNameTheCulprit:
    @pytest.mark.parametrize(
        ("middle", "modules", "message"),
        [
            (lambda net, x: torch.cumsum(net.inner(x), 1), {}, r"cumsum"),
            (lambda net, x: torch.add(net.inner(x), x, alpha=0.5), {}, "adds with alpha"),
            (lambda net, x: torch.sub(x, net.inner(x), alpha=0.5), {}, "sub"),
            (
                lambda net, x: net.odd(x),
                {"odd": nn.LocalResponseNorm(2)},
                r"odd \(LocalResponseNorm\)",
            ),
            (
                lambda net, x: net.pool(net.inner(x)),
                {"pool": nn.MaxPool2d(3, 2, ceil_mode=True)},
                "pool pools with ceil_mode",
            ),
            (
                lambda net, x: net.pool(net.inner(x)),
                {"pool": nn.MaxPool2d(2, dilation=2)},
                "pool pools with dilation",
            ),
            (
                lambda net, x: net.pool(net.inner(x)),
                {"pool": nn.AvgPool2d(3, 1, 1, count_include_pad=False)},
                "pool pools with padding",
            ),
            (
                lambda net, x: F.avg_pool2d(net.inner(x), 3, padding=1, count_include_pad=False),
                {},
                "avg_pool2d pools with padding",
            ),
            (
                lambda net, x: F.avg_pool2d(net.inner(x), 2, divisor_override=3),
                {},
                "divisor_override",
            ),
            (lambda net, x: F.adaptive_avg_pool2d(net.inner(x), 2), {}, "more than one pixel"),
            (
                lambda net, x: net.odd(x),
                {"odd": nn.Conv2d(4, 4, 3, padding=1, padding_mode="reflect")},
                "not of zeros",
            ),
            (lambda net, x: x if x.sum() > 0 else net.inner(x), {}, "torch.fx cannot trace Net"),
        ],
    )
    def test_it(
        self, middle: Callable[[Any, Tensor], Tensor], modules: dict[str, nn.Module], message: str
    ) -> None:
        with pytest.raises(UsageError, match=message) as caught:
            quantize(Net(middle, **modules), Scheme(4, 4))
        assert caught.value.hint

    def test_a_data_dependent_forward_is_named(self) -> None:
        with pytest.raises(UsageError, match="control flow"):
            trace(Net(lambda net, x: x if x.sum() > 0 else net.inner(x)))


class TestSpellings:
    """One network in the many ways people write it."""

    @pytest.mark.parametrize(
        "middle",
        [
            lambda net, x: net.inner(x) + x,
            lambda net, x: torch.add(net.inner(x), x),
            lambda net, x: net.inner(x).add(x),
            lambda net, x: x + net.inner(x),
        ],
    )
    def test_sums(self, middle: Callable[[Any, Tensor], Tensor]) -> None:
        torch.manual_seed(0)
        reference = quantize(Net(lambda net, x: net.inner(x) + x), Scheme(4, 4))
        torch.manual_seed(0)
        model = quantize(Net(middle), Scheme(4, 4))
        assert torch.equal(model.train()(IMAGE), reference.train()(IMAGE))

    def test_in_place_sums_and_relus(self) -> None:
        def middle(net: Any, x: Tensor) -> Tensor:
            y: Tensor = net.relu(net.inner(x))
            y += x
            return y

        model = quantize(Net(middle, relu=nn.ReLU(inplace=True)), Scheme(4, 4)).train()
        model(IMAGE).sum().backward()
        assert model.get_parameter("inner.layer.weight").grad is not None

    def test_scaled_branches_go_into_the_layer(self) -> None:
        for middle, gain in (
            (lambda net, x: x - 0.5 * net.inner(x), -0.5),
            (lambda net, x: x - net.inner(x) * 2, -2.0),
            (lambda net, x: x - net.inner(x), -1.0),
            (lambda net, x: x + 3 * net.inner(x), 3.0),
        ):
            layer = quantize(Net(middle), Scheme(4, 4)).get_submodule("inner")
            assert isinstance(layer, QuantLayer)
            assert layer.gain == gain

    def test_in_the_paper_placement_a_float_layer_keeps_its_factor(self) -> None:
        """The first layer is not quantised there, so the factor stays an operation of the graph."""

        class Scaled(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.first, self.last = nn.Conv2d(3, 4, 1), nn.Conv2d(4, 4, 1)

            def forward(self, x: Tensor) -> Tensor:
                out: Tensor = self.last(torch.relu(0.25 * self.first(x)))
                return out

        torch.manual_seed(0)
        model = Scaled()
        quantized = quantize(model, Scheme(4, 4, placement="paper"))
        torch.testing.assert_close(quantized(IMAGE), model(IMAGE))

    def test_identity_is_dropped(self) -> None:
        model = quantize(
            Net(
                lambda net, x: net.norm(net.skip(net.inner(x))),
                skip=nn.Identity(),
                norm=nn.BatchNorm2d(4),
            ),
            Scheme(4, 4),
        )
        assert not any(isinstance(module, nn.Identity) for module in model.modules())
        layer = model.get_submodule("inner")
        assert isinstance(layer, QuantLayer)
        assert layer.bn is not None
