"""Published weights land where they belong, or the message names the array that does not fit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from edgeq.data import batches, load
from edgeq.errors import ArtefactError
from edgeq.models import zoo
from edgeq.models.pretrained import NORMALIZATION, load_npz_weights

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


def network() -> nn.Module:
    return zoo.build("resnet8-a", classes=10).eval()


def published_arrays(source: nn.Module) -> dict[str, Any]:
    """A network's arrays under the names of the published files."""
    found = {}
    for name, tensor in source.state_dict().items():
        parts = name.split(".")
        if parts[-1] == "num_batches_tracked":
            continue
        if parts[0] == "stem":
            parts = [parts[1] + "1", parts[2]]
        elif parts[0] == "stages":
            parts = [f"layer{int(parts[1]) + 1}", *parts[2:]]
        else:
            parts[0] = "linear"
        found[".".join(parts)] = tensor.numpy()
    return found


def same(left: Mapping[str, Tensor], right: Mapping[str, Tensor]) -> bool:
    return all(torch.equal(left[name], right[name]) for name in left)


def test_every_array_lands_in_its_place(tmp_path: Path) -> None:
    source, target = network(), network()
    np.savez(tmp_path / "w.npz", **published_arrays(source))
    assert not same(source.state_dict(), target.state_dict())
    load_npz_weights(target, tmp_path / "w.npz")
    assert same(source.state_dict(), target.state_dict())


def test_our_own_names_do_as_well(tmp_path: Path) -> None:
    source, target = network(), network()
    arrays: dict[str, Any] = {
        name: tensor.numpy()
        for name, tensor in source.state_dict().items()
        if "num_batches" not in name
    }
    np.savez(tmp_path / "w.npz", **arrays)
    load_npz_weights(target, tmp_path / "w.npz")
    assert same(source.state_dict(), target.state_dict())


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"layer2.0.conv1.weight": None}, r"lacks stages\.1\.0\.conv1\.weight \(1 in all\)"),
        (
            {"layer4.0.conv1.weight": np.zeros(3, np.float32)},
            r"also holds stages\.3\.0\.conv1\.weight",
        ),
        (
            {"linear.bias": np.zeros(9, np.float32)},
            r"classifier\.bias has the shape \(9,\), not \(10,\)",
        ),
        ({"linear.bias": np.zeros(10, np.int64)}, "no finite floats"),
        (
            {"bn1.weight": np.full(16, np.nan, np.float32)},
            r"stem\.bn\.weight holds values that are no finite floats",
        ),
    ],
)
def test_a_file_that_does_not_fit_changes_nothing(
    tmp_path: Path, change: dict[str, Any], said: str
) -> None:
    arrays = {
        name: array
        for name, array in {**published_arrays(network()), **change}.items()
        if array is not None
    }
    np.savez(tmp_path / "w.npz", **arrays)
    target = network()
    before = {name: tensor.clone() for name, tensor in target.state_dict().items()}
    with pytest.raises(ArtefactError, match=said):
        load_npz_weights(target, tmp_path / "w.npz")
    assert same(before, target.state_dict())


def test_another_layout_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "w.npz", **published_arrays(network()))
    with pytest.raises(ArtefactError, match=r"lacks .* in all"):
        load_npz_weights(zoo.build("resnet20-a", classes=10), tmp_path / "w.npz")
    with pytest.raises(ArtefactError, match="shortcut"):
        load_npz_weights(zoo.build("resnet8", classes=10), tmp_path / "w.npz")


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ArtefactError, match="no weights file at"):
        load_npz_weights(network(), tmp_path / "w.npz")


@pytest.mark.parametrize(("depth", "right"), [(20, 464), (56, 471)])
def test_the_published_networks_classify_as_published(
    data_dir: Path, depth: int, right: int
) -> None:
    source = load("cifar10-lossless", data_dir).with_normalization(*NORMALIZATION)
    published = zoo.build(f"resnet{depth}-a", classes=10).eval()
    load_npz_weights(published, data_dir / "models" / f"resnet{depth}-cifar10.npz")
    with torch.no_grad():
        found = [
            (published(torch.from_numpy(x)).argmax(1).numpy() == y).sum()
            for x, y in batches(source.test, source, 125)
        ]
    # of 500: 92.8 % and 94.2 %; a tie may fall either way by kernel
    assert sum(found) == pytest.approx(right, abs=1)
