"""The canonical form, rule by rule, and every operator against torch."""

from __future__ import annotations

from collections import Counter, OrderedDict
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F

import edgeq
from edgeq.errors import UsageError
from edgeq.exporters.torch.lower import lower
from edgeq.formats.onnx_io import serialize
from edgeq.models import zoo
from edgeq.qdq.reader import read_qdq
from edgeq.training.qat_transform import quantize
from edgeq.training.recipes.scheme import Scheme

if TYPE_CHECKING:
    from collections.abc import Callable

    import onnx_ir as ir
    from numpy.typing import NDArray

    from edgeq.network.placement import PlacementName

    Make = Callable[..., fx.GraphModule]

SHAPE = (3, 16, 16)
ENDINGS = ("scale", "zero_point", "quantized", "dequantized", "unclipped", "qmax")
NETWORKS = ("resnet8", "resnet8-a", "stable-resnet8")
SCHEMES = tuple(
    Scheme(w, a, placement=p) for p in ("integer", "paper") for w, a in ((4, 4), (4, 8), (8, 8))
)


def constant(model: ir.Model, name: str) -> NDArray[Any]:
    value = model.graph.initializers[name].const_value
    assert value is not None
    return value.numpy()


def by_name(model: ir.Model) -> dict[str, ir.Node]:
    return {node.name or "": node for node in model.graph}


def source(node: ir.Node, index: int = 0) -> str:
    value = node.inputs[index]
    return (value.name if value is not None else None) or ""


class TestCanonicalForm:
    @pytest.mark.parametrize(
        "scheme", SCHEMES, ids=lambda scheme: f"{scheme.name} {scheme.placement}"
    )
    @pytest.mark.parametrize("name", NETWORKS)
    def test_onnxs_own_checker_passes_with_shapes(
        self, network: Make, name: str, scheme: Scheme
    ) -> None:
        content = serialize(lower(network(name, scheme), SHAPE))
        model = onnx.load_model_from_string(content)
        onnx.checker.check_model(model, full_check=True)
        assert [entry.version for entry in model.opset_import] == [21]

    @pytest.mark.parametrize(
        "scheme", SCHEMES, ids=lambda scheme: f"{scheme.name} {scheme.placement}"
    )
    def test_every_quantiser_has_a_stored_scale_and_zero_point(
        self, network: Make, scheme: Scheme
    ) -> None:
        for node in lower(network("stable-resnet8", scheme), SHAPE).graph:
            if node.op_type in ("QuantizeLinear", "DequantizeLinear"):
                assert len(node.inputs) == 3
                assert all(
                    value is not None and value.const_value is not None for value in node.inputs[1:]
                )

    def test_every_convolution_writes_its_kernel_shape(self, network: Make) -> None:
        convolutions = [
            node for node in lower(network("resnet8"), SHAPE).graph if node.op_type == "Conv"
        ]
        for node in convolutions:
            weight = node.inputs[1]
            assert weight is not None
            assert weight.shape is not None
            assert tuple(node.attributes["kernel_shape"].as_ints()) == tuple(weight.shape)[2:]
        assert {tuple(node.attributes["kernel_shape"].as_ints()) for node in convolutions} == {
            (3, 3),
            (1, 1),
        }

    @pytest.mark.parametrize("name", NETWORKS)
    def test_a_bias_lies_on_the_product_of_its_inputs_and_its_weights_scale(
        self, network: Make, name: str
    ) -> None:
        model = lower(network(name), SHAPE)
        checked = 0
        for node in model.graph:
            if node.op_type not in ("Conv", "Gemm"):
                continue
            scales = []
            for value in node.inputs:
                assert value is not None
                dequantizer = value.producer()
                assert dequantizer is not None
                assert dequantizer.op_type == "DequantizeLinear"
                scales.append(constant(model, source(dequantizer, 1)))
            product = scales[0] * scales[1]
            assert product.dtype == np.float32
            assert scales[2].tobytes() == np.broadcast_to(product, scales[2].shape).tobytes()
            checked += 1
        assert checked >= 8

    def test_weights_are_int8_biases_int32_and_weight_zero_points_zero(self, network: Make) -> None:
        model = lower(network("resnet8"), SHAPE)
        for name in model.graph.initializers:
            if name.endswith(".weight_quantized"):
                assert constant(model, name).dtype == np.int8
            if name.endswith(".bias_quantized"):
                assert constant(model, name).dtype == np.int32
            if name.endswith((".weight_zero_point", ".bias_zero_point")):
                assert not constant(model, name).any()

    def test_four_bit_weights_use_fifteen_integers(self, network: Make) -> None:
        model = lower(network("resnet8"), SHAPE)
        names = [
            name
            for name in model.graph.initializers
            if name.startswith("stages.") and name.endswith(".weight_quantized")
        ]
        inner = [constant(model, name) for name in names]
        assert {int(abs(weight.astype(int)).max()) for weight in inner} == {7}

    def test_the_transpose_is_a_convolution_with_the_flipped_integers(self, network: Make) -> None:
        model = network("stable-resnet8")
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.weight.data.abs_()
        lowered = lower(model, SHAPE)
        for stage in range(3):
            k, kt = (
                constant(lowered, f"stages.{stage}.0.{name}.weight_quantized").astype(int)
                for name in ("conv", "conv_transpose")
            )
            assert np.array_equal(kt, -k.transpose(1, 0, 2, 3)[:, :, ::-1, ::-1]), (
                "the sign of -h is in the integers"
            )
        assert not any(node.op_type == "ConvTranspose" for node in lowered.graph)

    def test_the_step_is_an_add_with_the_step_size_in_the_scale(self, network: Make) -> None:
        model = network("stable-resnet8", Scheme(4, 4, normalize_weights=True))
        lowered = lower(model, SHAPE)
        counts = Counter(node.op_type for node in lowered.graph)
        assert counts["Add"] == 3
        assert not counts.keys() & {"Sub", "Mul", "BatchNormalization"}
        layer: Any = model.get_submodule("stages.0.0.conv_transpose")
        norm = layer.bn
        factor = 0.1 * norm.weight.double() / (norm.running_var.double() + norm.eps).sqrt()
        expected = (layer.quantizer.clip.scale.double() * factor.abs()).float().detach().numpy()
        assert np.array_equal(constant(lowered, "stages.0.0.conv_transpose.weight_scale"), expected)

    @pytest.mark.parametrize(("bits", "clips"), [(4, True), (8, False)])
    def test_a_narrow_range_is_an_integer_clip_in_the_graph(
        self, network: Make, bits: int, clips: bool
    ) -> None:
        model = lower(network("stable-resnet8", Scheme(4, bits)), SHAPE)
        found = [node for node in model.graph if node.op_type == "Clip"]
        assert bool(found) == clips
        for node in found:
            quantizer = node.inputs[0].producer() if node.inputs[0] is not None else None
            assert quantizer is not None
            assert quantizer.op_type == "QuantizeLinear"
            assert [int(constant(model, source(node, i))) for i in (1, 2)] == [0, 15]
            assert constant(model, source(node, 1)).dtype == np.uint8
            assert {reader.op_type for reader in node.outputs[0].consumers()} == {
                "DequantizeLinear"
            }

    def test_tensors_on_one_grid_share_its_constants(self, network: Make) -> None:
        model = lower(network("stable-resnet8", Scheme(8, 8)), SHAPE)
        join = next(node for node in model.graph if node.op_type == "Concat")
        scales = {
            source(producer, 1)
            for value in join.inputs
            if value is not None and (producer := value.producer()) is not None
        }
        assert len(scales) == 1

    @pytest.mark.parametrize("name", NETWORKS)
    def test_the_integer_placement_reads_as_integers_throughout(
        self, network: Make, name: str
    ) -> None:
        graph = read_qdq(lower(network(name), SHAPE))
        assert graph.dynamic_batch
        assert all(tensor.params.dtype == "uint8" for tensor in graph.tensors().values())

    def test_metadata_and_version_are_in_the_file(self, network: Make) -> None:
        model = lower(network(), SHAPE, metadata={"scheme": "4W/4A integer", "data": "digits"})
        assert model.metadata_props == {
            "edgeq_version": edgeq.__version__,
            "scheme": "4W/4A integer",
            "data": "digits",
        }
        assert model.producer_name == "edgeq"

    def test_the_input_and_output_have_their_names_and_a_free_batch(self, network: Make) -> None:
        model = lower(network(), SHAPE)
        assert [value.name for value in model.graph.inputs] == ["input"]
        assert [value.name for value in model.graph.outputs] == ["output"]
        assert str(model.graph.inputs[0].shape) == "[N,3,16,16]"


class TestNames:
    @pytest.mark.parametrize("name", NETWORKS)
    def test_two_exports_are_the_same_bytes(self, network: Make, name: str) -> None:
        assert serialize(lower(network(name), SHAPE)) == serialize(lower(network(name), SHAPE))

    def test_they_come_from_the_module_paths(self, network: Make) -> None:
        model = lower(network(), SHAPE)
        names = {value.name for node in model.graph for value in node.outputs}
        assert {
            "stem_relu_quantized",
            "stages_1_0_relu1_quantized",
            "stages_0_0_bn2_quantized",
        } <= names
        constants = {
            "stem.conv.weight_quantized",
            "stages.2.0.conv_transpose.bias_quantized",
            "classifier.weight_scale",
        }
        assert constants <= set(model.graph.initializers)

    @pytest.mark.parametrize("odd", ["output", "input", *(f"relu_{end}" for end in ENDINGS)])
    def test_a_module_may_be_called_like_one_of_our_tensors(self, odd: str) -> None:
        class Odd(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.first, self.relu = nn.Conv2d(3, 4, 3), nn.ReLU()
                self.add_module(odd, nn.Conv2d(4, 5, 3))

            def forward(self, x: Tensor) -> Tensor:
                out: Tensor = getattr(self, odd)(self.relu(self.first(x)))
                return out

        torch.manual_seed(0)
        model = quantize(Odd(), Scheme(4, 4)).train()
        same_as_torch(model)


def same_as_torch(
    model: nn.Module, shape: tuple[int, ...] = SHAPE, tolerance: float = 1e-4
) -> onnx.ModelProto:
    """The exported network computes what torch does, but for a flipped tie or two.

    Returns the model.
    """
    x = torch.randn(4, *shape, generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        model(x)
        expected = model.eval()(x).numpy()
    proto = onnx.load_model_from_string(serialize(lower(model, shape)))
    onnx.checker.check_model(proto, full_check=True)
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    found = ort.InferenceSession(proto.SerializeToString(), options).run(
        ["output"], {"input": x.numpy()}
    )[0]
    close = np.abs(found - expected) <= tolerance * np.abs(expected).max()
    assert close.mean() > 0.97
    return proto


class Body(nn.Module):
    """One operation between two layers."""

    def __init__(
        self, middle: Callable[[Any, Tensor], Tensor], channels: int = 4, **modules: nn.Module
    ) -> None:
        super().__init__()
        self.first, self.inner, self.last = (
            nn.Conv2d(3, 4, 3, padding=1),
            nn.Conv2d(4, 4, 3, padding=1),
            nn.Conv2d(channels, 2, 1),
        )
        self.middle = middle
        for name, module in modules.items():
            self.add_module(name, module)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.last(self.middle(self, torch.relu(self.first(x))))
        return out


OPERATIONS: dict[str, tuple[Callable[[Any, Tensor], Tensor], int, dict[str, nn.Module]]] = {
    "sum": (lambda net, x: net.inner(x) + x, 4, {}),
    "sum of itself": (lambda net, x: x + x, 4, {}),
    "method add": (lambda net, x: net.inner(x).add(x), 4, {}),
    "method relu": (lambda net, x: net.inner(x).relu(), 4, {}),
    "step": (lambda net, x: torch.relu(x - 0.3 * net.inner(x)), 4, {}),
    "relu of a relu": (lambda net, x: torch.relu(net.inner(x)).relu(), 4, {}),
    "concatenation": (lambda net, x: torch.cat([net.inner(x), x], 1), 8, {}),
    "concatenation by keyword": (lambda net, x: torch.cat(tensors=[x, net.inner(x)], dim=1), 8, {}),
    "concatenation with itself": (lambda net, x: torch.cat([x, x], dim=1), 8, {}),
    "average": (lambda net, x: F.avg_pool2d(x, kernel_size=2), 4, {}),
    "average with a stride": (lambda net, x: F.avg_pool2d(x, 3, 2), 4, {}),
    "average module": (
        lambda net, x: net.pool(x),
        4,
        {"pool": nn.AvgPool2d((2, 1), stride=(1, 2))},
    ),
    "maximum": (lambda net, x: F.max_pool2d(x, 3, stride=2, padding=1), 4, {}),
    "maximum by position": (lambda net, x: F.max_pool2d(x, 3, 2, 1), 4, {}),
    "maximum module": (lambda net, x: net.pool(x), 4, {"pool": nn.MaxPool2d(3, 2, 1)}),
    "global average": (lambda net, x: F.adaptive_avg_pool2d(x, 1), 4, {}),
    "slice": (lambda net, x: net.inner(x)[:, 1:, ::2, 3:-3], 3, {}),
    "negative slice": (lambda net, x: x[:, -2:], 2, {}),
    "pad": (lambda net, x: F.pad(x, (1, 2, 0, 3, 1, 0)), 5, {}),
    "pad by keyword": (lambda net, x: F.pad(x, pad=(1, 1), mode="constant", value=0), 4, {}),
    "crop by padding": (lambda net, x: F.pad(x, (-1, -2)), 4, {}),
    "depthwise": (lambda net, x: net.odd(x), 4, {"odd": nn.Conv2d(4, 4, 3, groups=4)}),
    "oblong": (
        lambda net, x: net.odd(x),
        4,
        {"odd": nn.Conv2d(4, 4, (1, 5), (2, 1), (0, 2), (1, 1))},
    ),
    "dilated": (lambda net, x: net.odd(x), 4, {"odd": nn.Conv2d(4, 4, 3, dilation=2)}),
    "transposed": (lambda net, x: net.odd(x), 4, {"odd": nn.ConvTranspose2d(4, 4, 3, padding=1)}),
    "norm without parameters": (
        lambda net, x: net.norm(net.inner(x)),
        4,
        {"norm": nn.BatchNorm2d(4, affine=False)},
    ),
}


@pytest.mark.parametrize("placement", ["integer", "paper"])
@pytest.mark.parametrize("name", OPERATIONS)
def test_every_operation_is_lowered_to_what_torch_computes(
    name: str, placement: PlacementName
) -> None:
    middle, channels, modules = OPERATIONS[name]
    torch.manual_seed(0)
    same_as_torch(
        quantize(Body(middle, channels, **modules), Scheme(4, 4, placement=placement)).train()
    )


@pytest.mark.parametrize("name", OPERATIONS)
def test_a_float_network_is_lowered_too(name: str) -> None:
    middle, channels, modules = OPERATIONS[name]
    torch.manual_seed(0)
    proto = same_as_torch(Body(middle, channels, **modules), tolerance=1e-5)
    assert not any(node.op_type == "QuantizeLinear" for node in proto.graph.node)


FLATTENS: tuple[Callable[[Any, Tensor], Tensor], ...] = (
    lambda net, x: net.flatten(x),
    lambda net, x: torch.flatten(x, 1),
    lambda net, x: x.flatten(1),
    lambda net, x: torch.flatten(x, start_dim=1),
    lambda net, x: x.flatten(1, -1),
)


@pytest.mark.parametrize("flatten", FLATTENS)
def test_flattening(flatten: Callable[[Any, Tensor], Tensor]) -> None:
    class Head(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.head, self.flatten = (
                nn.Conv2d(3, 4, 3, stride=4),
                nn.Linear(64, 5),
                nn.Flatten(),
            )

        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = self.head(flatten(self, torch.relu(self.conv(x))))
            return out

    torch.manual_seed(0)
    same_as_torch(quantize(Head(), Scheme(4, 4)).train())


@pytest.mark.parametrize(
    "name", ["resnet8", "resnet8-a", "stable-resnet8", "stable-resnet8-certified"]
)
def test_float_networks_of_the_zoo(name: str) -> None:
    torch.manual_seed(0)
    same_as_torch(zoo.build(name, classes=10), tolerance=1e-4)


@pytest.mark.parametrize(
    ("operation", "message"),
    [
        (lambda x: torch.cumsum(x, 1), "cumsum"),
        (lambda x: torch.add(x, x, alpha=2), "more than two operands"),
        (lambda x: x[0], "not a slice"),
        (lambda x: F.pad(x, (1, 1), value=3.0), "other than zeros"),
        (lambda x: F.max_pool2d(x, 3, ceil_mode=True), "ceil_mode"),
        (lambda x: F.avg_pool2d(x, 3, padding=1), "padding"),
        (lambda x: F.adaptive_avg_pool2d(x, 2), "more than one pixel"),
        (lambda x: torch.flatten(x, 0), "flatten"),
    ],
)
def test_what_has_no_form_is_named(operation: Callable[[Tensor], Tensor], message: str) -> None:
    class One(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return operation(x)

    with pytest.raises(UsageError, match=message):
        lower(One(), SHAPE)


@pytest.mark.parametrize(
    "module",
    [nn.Softmax(1), nn.AdaptiveAvgPool2d(2), nn.Flatten(0), nn.MaxPool2d(2, ceil_mode=True)],
)
def test_a_module_without_a_form_is_named(module: nn.Module) -> None:
    with pytest.raises(UsageError, match="odd"):
        lower(nn.Sequential(OrderedDict(odd=module)), SHAPE)
