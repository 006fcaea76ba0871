"""A network of anybody's, in anybody's loop, as a file: what ``import edgeq`` gives."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import numpy as np
import onnxruntime as ort
import pytest
import torch
from tests.support.models.families import FAMILIES
from torch import Tensor, nn
from torch.nn import functional as F

import edgeq
from edgeq.errors import EdgeqError, OutputError, UsageError
from edgeq.training.layers import QuantLayer

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from torch import fx

IMAGES = torch.randn(4, 3, 16, 16, generator=torch.Generator().manual_seed(0))
LABELS = torch.tensor([0, 1, 2, 3])


def trained(name: str = "mobilenetv3", steps: int = 2, **options: Any) -> fx.GraphModule:
    torch.manual_seed(0)
    model = edgeq.quantize(FAMILIES[name](), edgeq.Scheme(4, 8, **options), IMAGES).train()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, weight_decay=1e-4)
    for _ in range(steps):
        optimizer.zero_grad()
        F.cross_entropy(model(IMAGES), LABELS).backward()
        optimizer.step()
        edgeq.post_optimizer_step(model)
    return model.eval()


def run(path: Path, *images: Tensor) -> list[np.ndarray[Any, Any]]:
    session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    names = [each.name for each in session.get_inputs()]
    fed = {name: image.numpy() for name, image in zip(names, images, strict=True)}
    return [np.asarray(answer) for answer in session.run(None, fed)]


def test_what_is_public_is_there_and_nothing_else() -> None:
    assert {
        "quantize",
        "Scheme",
        "export",
        "post_optimizer_step",
        "set_bits",
        "ExportOptions",
    } <= set(dir(edgeq))
    with pytest.raises(AttributeError, match="'edgeq' has no attribute 'prune'"):
        getattr(edgeq, "prune")  # noqa: B009  # no name that mypy knows


@pytest.mark.parametrize("suffix", ["onnx", "tflite"])
def test_a_loop_of_ones_own_ends_in_a_file(suffix: str, tmp_path: Path) -> None:
    model = trained().train()
    exported = edgeq.export(model, IMAGES, tmp_path / f"net.{suffix}")
    assert (tmp_path / f"net.{suffix}").read_bytes() == exported.content
    assert exported.parity.different == ()
    assert exported.parity.compared > 500
    assert model.training, "the network is left in its mode"


def test_the_file_computes_what_torch_computes(tmp_path: Path) -> None:
    model = trained()
    edgeq.export(model, IMAGES, tmp_path / "net.onnx")
    with torch.no_grad():
        expected = model(IMAGES)
    step = np.diff(np.unique(expected.numpy())).min()
    assert np.abs(run(tmp_path / "net.onnx", IMAGES)[0] - expected.numpy()).max() <= 2.5 * step


def test_a_float_network_becomes_a_file_too(tmp_path: Path) -> None:
    model = FAMILIES["vgg"]()
    edgeq.export(model, IMAGES, tmp_path / "net.onnx")
    with torch.no_grad():
        np.testing.assert_allclose(
            run(tmp_path / "net.onnx", IMAGES)[0], model.eval()(IMAGES).numpy(), atol=1e-5
        )


class TwoInTwoOut(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.last = nn.Conv2d(3, 4, 3), nn.Conv2d(1, 4, 3), nn.Conv2d(4, 4, 1)

    def forward(self, image: Tensor, mask: Tensor) -> dict[str, Tensor]:
        features = torch.relu(self.a(image) + self.b(mask))
        return {"map": self.last(features), "mean": features.mean((2, 3))}


def test_several_inputs_and_outputs(tmp_path: Path) -> None:
    masks = torch.rand(4, 1, 16, 16)
    model = edgeq.quantize(TwoInTwoOut(), edgeq.Scheme(), [IMAGES, masks])
    model.train()(IMAGES, masks)
    edgeq.export(model.eval(), [IMAGES, masks], tmp_path / "net.onnx")
    found = run(tmp_path / "net.onnx", IMAGES, masks)
    with torch.no_grad():
        expected = model(IMAGES, masks)
    for array, tensor in zip(found, (expected["map"], expected["mean"]), strict=True):
        np.testing.assert_allclose(array, tensor.numpy(), atol=0.05)


class TheSameTwice(TwoInTwoOut):
    def forward(self, image: Tensor, mask: Tensor) -> Any:
        features = torch.relu(self.a(image) + self.b(mask))
        return features, self.last(features), features


@pytest.mark.parametrize("suffix", ["onnx", "tflite"])
def test_what_is_returned_twice_is_there_twice(suffix: str, tmp_path: Path) -> None:
    masks = torch.rand(4, 1, 16, 16)
    model = edgeq.quantize(TheSameTwice(), edgeq.Scheme(), [IMAGES, masks])
    model.train()(IMAGES, masks)
    assert edgeq.export(model, [IMAGES, masks], tmp_path / f"net.{suffix}").parity.different == ()
    if suffix == "onnx":
        found = run(tmp_path / "net.onnx", IMAGES, masks)
        assert [array.shape[1] for array in found] == [4, 4, 4]
        np.testing.assert_array_equal(found[0], found[2])


class TestRefusals:
    def test_an_ending_of_no_format(self, tmp_path: Path) -> None:
        with pytest.raises(UsageError, match=r"'net.pt' is that of no format") as caught:
            edgeq.export(trained(steps=1), IMAGES, tmp_path / "net.pt")
        assert ".tflite" in caught.value.hint

    def test_a_file_that_is_there(self, tmp_path: Path) -> None:
        (tmp_path / "net.onnx").write_bytes(b"mine")
        with pytest.raises(OutputError, match="exists already") as caught:
            edgeq.export(trained(steps=1), IMAGES, tmp_path / "net.onnx")
        assert caught.value.hint == "pass overwrite=True, or give another path"
        assert (tmp_path / "net.onnx").read_bytes() == b"mine"

    def test_a_network_around_a_quantised_one(self, tmp_path: Path) -> None:
        with pytest.raises(UsageError, match="holds a quantised network"):
            edgeq.export(nn.Sequential(trained(steps=1)), IMAGES, tmp_path / "net.onnx")

    def test_widths_that_are_still_annealed(self, tmp_path: Path) -> None:
        model = trained(steps=1)
        edgeq.set_bits(model, 12)
        with pytest.raises(EdgeqError, match="still"):
            edgeq.export(model, IMAGES, tmp_path / "net.onnx")
        edgeq.set_bits(model, None)
        edgeq.export(model, IMAGES, tmp_path / "net.onnx")

    @pytest.mark.parametrize(
        "options",
        [{}, {"affine": True}, {"weights": "lsq", "activations": "lsq", "placement": "paper"}],
    )
    def test_a_network_that_saw_no_batch(self, options: dict[str, Any], tmp_path: Path) -> None:
        model = trained(steps=0, **options)
        with pytest.raises(
            UsageError,
            match=r"no batch has gone through the network in training, so that quantizers\.\S+ "
            r"has no bound",
        ):
            edgeq.export(model, IMAGES, tmp_path / "net.onnx")
        with torch.no_grad():
            model.train()(IMAGES)
        edgeq.export(model, IMAGES, tmp_path / "net.onnx")

    def test_a_tensor_that_was_always_zero_is_none_that_saw_no_batch(self, tmp_path: Path) -> None:
        model = edgeq.quantize(TwoInTwoOut(), edgeq.Scheme(), [IMAGES, IMAGES[:, :1]])
        model.train()(IMAGES, 0 * IMAGES[:, :1])
        edgeq.export(model, [IMAGES, IMAGES[:, :1]], tmp_path / "net.onnx")

    @pytest.mark.parametrize(
        ("spoil", "message"),
        [
            (lambda model: model.half(), r"is in torch\.float16"),
            (lambda model: model.bfloat16(), r"is in torch\.bfloat16"),
            (lambda model: model.double(), r"is in torch\.float64"),
            (
                lambda model: next(model.parameters()).data.fill_(float("nan")),
                "holds what is no number",
            ),
        ],
    )
    def test_numbers_that_no_file_can_hold(
        self, spoil: Callable[[fx.GraphModule], Any], message: str, tmp_path: Path
    ) -> None:
        model = trained("vgg", steps=1)
        spoil(model)
        with pytest.raises(UsageError, match=message):
            edgeq.export(model, IMAGES, tmp_path / "net.onnx")
        assert not (tmp_path / "net.onnx").exists()

    @pytest.mark.parametrize(
        ("example", "message"),
        [
            (IMAGES[:, :2], r"cannot read samples of \(2, 16, 16\): Given groups=1"),
            (IMAGES[0], r"cannot read samples of \(16, 16\)"),
            (IMAGES.numpy(), "the example is a ndarray, not a batch"),
            ((1, 3, 16, 16), "the example is a int, not a batch"),
        ],
    )
    def test_an_example_that_is_none(
        self, example: Any, message: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
    ) -> None:
        with pytest.raises(UsageError, match=message):
            edgeq.export(trained("vgg", steps=1), example, tmp_path / "net.onnx")
        assert capfd.readouterr().err == "", "no traceback of torch's own"

    @pytest.mark.parametrize("wrong", [3, lambda x: x])
    def test_what_is_no_network(self, wrong: Any, tmp_path: Path) -> None:
        with pytest.raises(UsageError, match=r"the network is a \w+, no torch.nn.Module"):
            edgeq.export(wrong, IMAGES, tmp_path / "net.onnx")


class TestWhatTorchDoesToIt:
    def test_what_averages_or_shares_it_is_seen_through(self, tmp_path: Path) -> None:
        model = trained("vgg")
        averaged = torch.optim.swa_utils.AveragedModel(nn.DataParallel(model), use_buffers=True)
        averaged.update_parameters(nn.DataParallel(model))
        found = edgeq.export(averaged, IMAGES, tmp_path / "averaged.onnx")
        assert found.content == edgeq.export(model, IMAGES, tmp_path / "net.onnx").content

    def test_the_whole_of_it_passes_through_pickle(self, tmp_path: Path) -> None:
        model = trained("mobilenetv3")
        torch.save(model, tmp_path / "whole.pt")
        again = torch.load(tmp_path / "whole.pt", weights_only=False)
        with torch.no_grad():
            assert torch.equal(again(IMAGES), model(IMAGES))
        edgeq.export(again, IMAGES, tmp_path / "net.onnx")

    @pytest.mark.parametrize(
        "name",
        [
            pytest.param("mobilenetv3", marks=pytest.mark.slow),
            pytest.param("densenet", marks=pytest.mark.slow),
            "twice",
            pytest.param("shufflenet", marks=pytest.mark.slow),
            "norm-act",
        ],
    )
    def test_copies_state_and_torch_export(self, name: str, tmp_path: Path) -> None:
        model = trained(name)
        with torch.no_grad():
            expected = model(IMAGES)
        assert torch.equal(copy.deepcopy(model)(IMAGES), expected)
        torch.save(model.state_dict(), tmp_path / "state.pt")
        other = edgeq.quantize(FAMILIES[name](), edgeq.Scheme(4, 8), IMAGES).eval()
        other.load_state_dict(torch.load(tmp_path / "state.pt"))
        assert torch.equal(other(IMAGES), expected)
        program = torch.export.export(model, (IMAGES,))
        assert torch.equal(program.module()(IMAGES), expected)

    def test_bfloat16_autocast(self) -> None:
        model = trained("efficientnet", steps=1).train()
        with torch.autocast("cpu", torch.bfloat16):
            loss = F.cross_entropy(model(IMAGES).float(), LABELS)
        loss.backward()
        gradients = [parameter.grad for parameter in model.parameters() if parameter.requires_grad]
        assert all(gradient is not None and gradient.isfinite().all() for gradient in gradients)
        model.eval()
        assert all(
            layer.integer_weights().weight.any()
            for layer in model.modules()
            if isinstance(layer, QuantLayer)
        )

    def test_a_layer_called_twice_keeps_one_weight(self) -> None:
        model = trained("twice", steps=0).train()
        before = [parameter.clone() for parameter in model.parameters()]
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        F.cross_entropy(model(IMAGES), LABELS).backward()
        optimizer.step()
        calls = [
            layer
            for name, layer in model.named_modules()
            if isinstance(layer, QuantLayer) and ".conv" in name
        ]
        assert len(calls) == 2
        assert calls[0].layer.weight is calls[1].layer.weight
        assert calls[0].quantizer is calls[1].quantizer
        assert calls[0]._source != calls[1]._source
        assert any(
            not torch.equal(old, new) for old, new in zip(before, model.parameters(), strict=True)
        )
