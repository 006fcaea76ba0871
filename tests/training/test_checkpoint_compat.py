"""Checkpoints of versions that tracked the bound of weights compute what they computed then."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
import torch
from torch import fx

from edgeq.training.checkpoint import (
    MODEL,
    OPTIMIZER,
    Checkpoint,
    build_model,
    load_model,
    model_state,
    read,
    read_file,
    save,
    write_file,
)
from edgeq.training.checkpoint_compat import complete_older
from edgeq.training.layers import QuantLayer
from edgeq.training.quantizers.max_abs import MaxAbs
from edgeq.training.quantizers.tracked_clip import TrackedClip
from edgeq.training.recipes.recipe import Recipe
from edgeq.training.recipes.scheme import Scheme

if TYPE_CHECKING:
    from pathlib import Path

SHAPE = (1, 8, 8)
RECIPE = Recipe("resnet8", "digits", Scheme(4, 4))


@pytest.fixture
def old() -> fx.GraphModule:
    """A network as it was built then.

    The last layer's weight has a bound that its last update left behind.
    """
    torch.manual_seed(0)
    model = build_model(RECIPE, SHAPE, 10)
    assert isinstance(model, fx.GraphModule)
    last = model.get_submodule("classifier")
    assert isinstance(last, QuantLayer)
    assert isinstance(last.quantizer.clip, MaxAbs)
    last.quantizer.clip = TrackedClip(
        8,
        signed=True,
        narrow_range=True,
        bound=0.7 * last.layer.weight.detach().abs().max().item(),
        decay=1.0,
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


@pytest.mark.parametrize("first_last", ["edge", "inner", None])
def test_the_words_of_then_mean_what_they_meant(first_last: str | None, tmp_path: Path) -> None:
    recipe = replace(
        RECIPE,
        scheme=Scheme(
            4,
            4,
            boundary_bits=6,
            first_last="boundary" if first_last == "edge" else first_last,  # type: ignore[arg-type]
        ),
    )
    model = build_model(recipe, SHAPE, 10)
    assert isinstance(model, fx.GraphModule)
    model.train()(torch.randn(8, *SHAPE, generator=torch.Generator().manual_seed(2)))
    path = tmp_path / "best.safetensors"
    save(
        path,
        Checkpoint(
            recipe,
            SHAPE,
            tuple("0123456789"),
            {f"{MODEL}{name}": t for name, t in model_state(model).items()},
        ),
    )
    about, tensors = read_file(path)
    scheme = about["recipe"]["scheme"]
    del scheme["boundary_bits"]
    write_file(
        path,
        about
        | {
            "recipe": about["recipe"]
            | {"scheme": scheme | {"edge_bits": 6, "first_last": first_last}}
        },
        tensors,
    )
    images = torch.randn(4, *SHAPE, generator=torch.Generator().manual_seed(1))
    assert torch.equal(load_model(path).module(images), model.eval()(images))


def test_a_recipe_of_then_is_that_of_today() -> None:
    written = {
        "weight_bits": 4,
        "act_bits": 4,
        "edge_bits": 8,
        "placement": "paper",
        "normalize_weights": True,
        "first_last": "edge",
    }
    found = Scheme.from_dict(complete_older({"scheme": written})["scheme"])
    published = Scheme(
        4, 4, placement="paper", first_last="boundary", normalize_weights=True, pair_safe=False
    )
    assert found == replace(published, per_channel=False, affine=False)


def test_the_scale_of_lsq_is_found_by_its_former_name(tmp_path: Path) -> None:
    recipe = replace(RECIPE, scheme=Scheme(4, 4, weights="lsq", activations="lsq"))
    model = build_model(recipe, SHAPE, 10)
    now = {MODEL + name: tensor for name, tensor in model_state(model).items()}
    moments = {name.replace(MODEL, OPTIMIZER): tensor for name, tensor in now.items()}
    renamed = [name for name in now if name.endswith(".target_scale")]
    assert {name.split(".")[-2] for name in renamed} > {"clip"}
    former = {
        name.replace(".target_scale", ".scale"): tensor for name, tensor in (now | moments).items()
    }
    save(tmp_path / "old.safetensors", Checkpoint(recipe, SHAPE, tuple("0123456789"), former))
    found = read(tmp_path / "old.safetensors").tensors
    assert found.keys() == now.keys() | moments.keys()
    assert load_model(tmp_path / "old.safetensors").quantized
