"""Starting from an earlier run: its weights are there, whatever it was quantised to.

What does not fit is refused.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from edgeq.data import DataSource, Preprocessing, Split
from edgeq.errors import ArtefactError, UsageError
from edgeq.training.checkpoint import MODEL, Checkpoint, build_model, model_state, save
from edgeq.training.recipes.recipe import Recipe
from edgeq.training.recipes.scheme import Scheme
from edgeq.training.run.warm_start import starting_model

if TYPE_CHECKING:
    from pathlib import Path

RECIPE = Recipe("stable-resnet8", "made-up", seed=5)
CLASSES = ("a", "b", "c", "d")


def source(size: int = 8, classes: tuple[str, ...] = CLASSES) -> DataSource:
    part = Split({"": np.zeros((4, size, size, 1), np.uint8)}, np.zeros(4, np.int64), np.arange(4))
    return DataSource(
        "made-up", classes, part, part, part, Preprocessing.normalized((0.4,), (0.2,))
    )


def earlier(path: Path, scheme: Scheme | None, **fields: Any) -> dict[str, torch.Tensor]:
    """A checkpoint with weights of its own; returns what it holds."""
    torch.manual_seed(77)
    run = replace(RECIPE, scheme=scheme, **fields)
    model = build_model(run, (1, 8, 8), 4)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.fill_(2.5) if "alpha" in name else parameter.add_(torch.randn_like(parameter))
    tensors = {name: tensor.clone() for name, tensor in model_state(model).items()}
    save(
        path,
        Checkpoint(
            run, (1, 8, 8), CLASSES, {MODEL + name: tensor for name, tensor in tensors.items()}
        ),
    )
    return tensors


def test_without_one_it_is_the_seeds() -> None:
    first, again = (model_state(starting_model(RECIPE, source())) for _ in range(2))
    other = model_state(starting_model(replace(RECIPE, seed=6), source()))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)


def test_from_float_to_quantised(tmp_path: Path) -> None:
    """Every weight is carried over, under the names that quantisation gives it."""
    before = earlier(tmp_path / "float", None)
    after = model_state(
        starting_model(
            replace(RECIPE, scheme=Scheme(4, 4), init_from=str(tmp_path / "float")), source()
        )
    )
    kernels = [tensor for tensor in before.values() if tensor.ndim == 4]
    carried = [tensor for tensor in after.values() if tensor.ndim == 4]
    assert len(kernels) == len(carried) > 3
    assert all(any(torch.equal(kernel, tensor) for tensor in carried) for kernel in kernels)


def test_from_more_bits_to_fewer_with_the_bounds(tmp_path: Path) -> None:
    """The progressive start of APoT: 32, 4, 3, 2 bits."""
    before = earlier(tmp_path / "four", Scheme(4, 4))
    after = model_state(
        starting_model(
            replace(RECIPE, scheme=Scheme(3, 3), init_from=str(tmp_path / "four")), source()
        )
    )
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert any(
        "alpha" in name and tensor == 2.5 for name, tensor in after.items() if tensor.ndim == 0
    )


def test_to_another_placement_with_all_weights(tmp_path: Path) -> None:
    before = earlier(tmp_path / "integer", Scheme(4, 4))
    run = replace(
        RECIPE,
        scheme=Scheme(4, 4, placement="integer", first_last="inner"),
        init_from=str(tmp_path / "integer"),
    )
    after = model_state(starting_model(run, source()))
    assert all(torch.equal(before[name], after[name]) for name in before if "quantizer" not in name)


@pytest.mark.parametrize(
    ("fields", "data"),
    [({"model": "resnet8"}, source()), ({}, source(size=12)), ({}, source(classes=("a", "b")))],
)
def test_another_network_is_refused(
    tmp_path: Path, fields: dict[str, Any], data: DataSource
) -> None:
    earlier(tmp_path / "float", None)
    with pytest.raises(ArtefactError, match="holds stable-resnet8"):
        starting_model(replace(RECIPE, init_from=str(tmp_path / "float"), **fields), data)


def test_float_from_quantised_is_refused(tmp_path: Path) -> None:
    earlier(tmp_path / "four", Scheme(4, 4))
    with pytest.raises(UsageError, match="is quantised, and the run is in FP32"):
        starting_model(replace(RECIPE, init_from=str(tmp_path / "four")), source())


def test_missing_or_broken(tmp_path: Path) -> None:
    (tmp_path / "broken").write_bytes(b"12345678")
    for name, what in (("none", "there is no checkpoint"), ("broken", "is no checkpoint")):
        with pytest.raises(ArtefactError, match=what):
            starting_model(replace(RECIPE, init_from=str(tmp_path / name)), source())
