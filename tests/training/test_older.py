"""Checkpoints of versions that tracked the bound of weights compute what they computed then."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch
from torch import fx

from edgeq.training.checkpoint import MODEL, Checkpoint, build_model, load_model, model_state, save
from edgeq.training.layers import QuantLayer
from edgeq.training.quantizers.max_abs import MaxAbs
from edgeq.training.quantizers.tracked_clip import TrackedClip
from edgeq.training.recipe import Recipe
from edgeq.training.scheme import Scheme

if TYPE_CHECKING:
    from pathlib import Path

SHAPE = (1, 8, 8)
RECIPE = Recipe("resnet8", "digits", Scheme(4, 4))


@pytest.fixture
def old() -> fx.GraphModule:
    """A network as it was built then: the last layer's weight has a bound that its last update left behind."""
    torch.manual_seed(0)
    model = build_model(RECIPE, SHAPE, 10)
    assert isinstance(model, fx.GraphModule)
    last = model.get_submodule("classifier")
    assert isinstance(last, QuantLayer)
    assert isinstance(last.quantizer.clip, MaxAbs)
    last.quantizer.clip = TrackedClip(
        8, signed=True, narrow_range=True, bound=0.7 * last.layer.weight.detach().abs().max().item(), decay=1.0
    )
    for module in model.modules():
        if isinstance(module, TrackedClip) and float(module.alpha) == 0:
            module.alpha.fill_(1.0)
    return model.eval()


def test_an_older_checkpoint_computes_the_same(old: fx.GraphModule, tmp_path: Path) -> None:
    path = tmp_path / "best.safetensors"
    tensors = {f"{MODEL}{name}": tensor for name, tensor in model_state(old).items()}
    save(path, Checkpoint(RECIPE, SHAPE, tuple("0123456789"), tensors))
    images = torch.randn(4, *SHAPE, generator=torch.Generator().manual_seed(1))
    loaded = load_model(path).module
    assert torch.equal(loaded(images), old(images))
    assert isinstance(loaded.get_submodule("classifier.quantizer.clip"), TrackedClip)
