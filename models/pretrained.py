"""Published weights of CIFAR ResNets, from an ``.npz`` file of arrays by name.

The names are those of Idelbayev's reproduction of He et al. (akamaster/pytorch_resnet_cifar10),
whose networks have option-A shortcuts and take images normalised with ImageNet's statistics: load
them into ``resnet20-a`` and the like, and use ``source.with_normalization(*NORMALIZATION)``.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from edgeq.data.readers.arrays import read_npz
from edgeq.data.statistics import IMAGENET
from edgeq.errors import ArtefactError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray
    from torch import nn

NORMALIZATION = IMAGENET
"""Mean and deviation of the images that the published networks were trained on."""

# BatchNorm's count of training steps, which no published file holds
_COUNTER = "num_batches_tracked"


def load_npz_weights(module: nn.Module, path: Path) -> None:
    """Replace every weight and BatchNorm statistic of a network by the file's; all of them or none.

    Args:
        module: a network of :mod:`edgeq.models.resnet`.
        path: an ``.npz`` file with the published names, or with our own.

    Raises:
        ArtefactError: the file is missing or broken; it lacks an array, has one more, or one of
            another shape or type.
    """
    arrays = {_our_name(name): array for name, array in read_npz(path, "weights file").items()}
    state = module.state_dict()
    wanted = {
        name: tuple(tensor.shape) for name, tensor in state.items() if not name.endswith(_COUNTER)
    }
    _check_names(set(wanted), set(arrays), path)
    _check_content(wanted, arrays, path)
    module.load_state_dict(
        {**state, **{name: torch.tensor(array) for name, array in arrays.items()}}
    )


def _our_name(name: str) -> str:
    """Our name of a published array: ``layer2.0.conv1.weight`` is ``stages.1.0.conv1.weight``.

    ``bn1.bias`` is ``stem.bn.bias``; ``linear`` is the classifier.
    """
    name = re.sub(r"^layer([1-9])\.", lambda match: f"stages.{int(match[1]) - 1}.", name)
    name = re.sub(r"^(conv|bn)1\.", r"stem.\1.", name)
    return re.sub(r"^linear\.", "classifier.", name)


def _check_names(wanted: set[str], found: set[str], path: Path) -> None:
    for what, names in (("lacks", wanted - found), ("also holds", found - wanted)):
        if names:
            few = ", ".join(sorted(names)[:3])
            raise ArtefactError(
                f"{path} does not fit the network: it {what} "
                f"{few}{', …' if len(names) > 3 else ''} ({len(names)} in all)",
                hint="choose the network that the file was saved from",
            )


def _check_content(
    wanted: Mapping[str, tuple[int, ...]], arrays: Mapping[str, NDArray[Any]], path: Path
) -> None:
    for name, shape in wanted.items():
        array = arrays[name]
        if array.shape != shape:
            raise ArtefactError(
                f"{path}: {name} has the shape {array.shape}, not {shape}",
                hint="choose the network that the file was saved from",
            )
        if array.dtype.kind != "f" or not np.isfinite(array).all():
            raise ArtefactError(
                f"{path}: {name} holds values that are no finite floats", hint="save the file again"
            )
