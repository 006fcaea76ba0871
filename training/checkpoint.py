"""Checkpoints: one safetensors file; the JSON in its header says what the tensors are.

Nothing in a checkpoint can run code, and one file written by one rename cannot be half there.
"""

from __future__ import annotations

import json
import math
import struct
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

import safetensors.torch
import torch
from torch import nn

import edgeq
from edgeq.brief import brief
from edgeq.errors import ArtefactError, UsageError
from edgeq.factories import is_reference
from edgeq.files import read_bytes, write_bytes
from edgeq.formats.preprocessing_note import note
from edgeq.models import zoo
from edgeq.network.loading import LoadedModel
from edgeq.training import network_file
from edgeq.training.checkpoint_compat import accept_older, complete_older, rename_older
from edgeq.training.qat_transform import quantize, set_rounding
from edgeq.training.recipes.recipe import Recipe
from edgeq.training.user_model import build_user

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from edgeq.training.recipes.any_recipe import AnyRecipe

GRAPH_FORMAT = "edgeq.graph-checkpoint/1"
MODEL, OPTIMIZER = "model/", "optimizer/"
_IMAGE_RANK = 3
_MOST_NUMBERS = 2**28  # of a sample: 1 GB
_OTHER_VERSION = "use the edgeq that wrote it"


@dataclass(frozen=True, slots=True, repr=False)
class AnyCheckpoint:
    """A training run at one moment.

    Attributes:
        recipe: the run.
        input_shape: of one sample, or of a graph: see the two kinds.
        classes: the names of the labels.
        tensors: parameters and buffers under ``model/``, the optimiser's under ``optimizer/``.
        progress: where the run stands (epoch, step, history), for resuming; empty in a best
            checkpoint.
    """

    recipe: AnyRecipe
    input_shape: tuple[int, ...]
    classes: tuple[str, ...]
    tensors: Mapping[str, torch.Tensor]
    progress: Mapping[str, Any] = field(default_factory=dict)

    FORMAT: ClassVar[str]
    SHAPE: ClassVar[str] = "input_shape"
    """The header's field for it."""

    __repr__ = brief


@dataclass(frozen=True, slots=True, repr=False)
class Checkpoint(AnyCheckpoint):
    """A run on images; its input shape is (channels, height, width).

    Attributes:
        recipe: the run.
        preprocessing: how the samples were fed, as :meth:`edgeq.data.Preprocessing.to_dict` tells;
            None where an older edgeq did not note it.
    """

    recipe: Recipe
    preprocessing: Mapping[str, Any] | None = None

    FORMAT = "edgeq.checkpoint/1"


def model_state(model: nn.Module) -> dict[str, torch.Tensor]:
    """Every parameter and buffer, each once however often it is tied, by its first name."""
    return {
        name: tensor.detach()
        for name, tensor in [*model.named_parameters(), *model.named_buffers()]
    }


def not_finite(tensors: Mapping[str, torch.Tensor]) -> list[str]:
    """The names of those that hold NaN or infinity."""
    return [
        name
        for name, tensor in tensors.items()
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all())
    ]


def under(prefix: str, tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Tensors by the names that they have in a checkpoint."""
    return {prefix + name: tensor for name, tensor in tensors.items()}


def below(prefix: str, tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The inverse of :func:`under`.

    Those of a checkpoint's tensors that have the prefix, without it.
    """
    return {
        name.removeprefix(prefix): tensor
        for name, tensor in tensors.items()
        if name.startswith(prefix)
    }


def save(path: Path, checkpoint: AnyCheckpoint) -> None:
    """Write a checkpoint, in place of an older one, whole or not at all.

    Raises:
        OutputError: it cannot be written.
    """
    about = {
        "format": checkpoint.FORMAT,
        "edgeq_version": edgeq.__version__,
        "recipe": checkpoint.recipe.to_dict(),
        "classes": list(checkpoint.classes),
        "progress": dict(checkpoint.progress),
        checkpoint.SHAPE: list(checkpoint.input_shape),
    }
    if isinstance(checkpoint, Checkpoint) and checkpoint.preprocessing is not None:
        about["preprocessing"] = dict(checkpoint.preprocessing)
    write_file(path, about, checkpoint.tensors)


def write_file(path: Path, about: Mapping[str, Any], tensors: Mapping[str, torch.Tensor]) -> None:
    """Write tensors and the JSON about them, in place of an older file, whole or not at all.

    Raises:
        OutputError: it cannot be written.
    """
    whole = {name: tensor.contiguous().clone() for name, tensor in tensors.items()}
    write_bytes(path, safetensors.torch.save(whole, {"edgeq": json.dumps(about)}), overwrite=True)


def write_network(
    path: Path, reference: str, network: nn.Module, input_shape: tuple[int, ...]
) -> None:
    """Write a file that stands for a network which only this program has.

    Args:
        path: the file.
        reference: the name that :func:`edgeq.factories.call` knows the network by.
        network: the network.
        input_shape: of one sample.
    """
    about = {
        "format": network_file.FORMAT,
        "network": reference,
        "input_shape": list(input_shape),
    }
    write_file(path, about, under(MODEL, model_state(network)))


def read_header(path: Path) -> Any:
    """The JSON of a file of :func:`write_file`, without its tensors.

    None where another program wrote the file.

    Raises:
        ArtefactError: missing, empty, truncated, or no safetensors file.
    """
    with _refusing_broken(path):
        (length,) = struct.unpack("<Q", read_bytes(path, "checkpoint", first=8))
        content = read_bytes(path, "checkpoint", first=8 + length)[8:]
        if len(content) < length:
            raise ValueError("its header is cut off")
        return _header_of(content)


def read_file(path: Path) -> tuple[Any, dict[str, torch.Tensor]]:
    """The JSON, as :func:`read_header` gives it, and the tensors.

    Raises:
        ArtefactError: missing, empty, truncated, or no safetensors file.
    """
    content = read_bytes(path, "checkpoint")
    with _refusing_broken(path):
        (length,) = struct.unpack("<Q", content[:8])
        return _header_of(content[8 : 8 + length]), safetensors.torch.load(content)


def _header_of(content: bytes) -> Any:
    metadata = json.loads(content).get("__metadata__", {})
    try:
        return json.loads(metadata["edgeq"])
    except (KeyError, TypeError, ValueError, RecursionError):
        return None


@contextmanager
def _refusing_broken(path: Path) -> Iterator[None]:
    """Around the reading of what may be no safetensors file.

    Raises:
        ArtefactError: it is none.
    """
    try:
        yield
    except (
        struct.error,
        ValueError,
        AttributeError,
        RecursionError,
        safetensors.SafetensorError,
    ) as error:
        raise ArtefactError(
            f"{path} is no checkpoint: {error}", hint="is it truncated, or another kind of file?"
        ) from error


def read(path: Path) -> Checkpoint:
    """Read a checkpoint.

    Raises:
        ArtefactError: missing, empty, truncated, or a safetensors file that edgeq did not write.
    """
    about, tensors = read_file(path)
    with refusing_others(path):
        if about["format"] == GRAPH_FORMAT:
            raise ArtefactError(
                f"{path} holds a graph network, which has no images to read",
                hint="edgeq export writes it as ONNX or TFLite",
            )
        if about["format"] != Checkpoint.FORMAT:
            raise ArtefactError(
                f"{path} has the format {about['format']!r}",
                hint=f"this edgeq reads {Checkpoint.FORMAT}; {_OTHER_VERSION}",
            )
        recipe, shape = Recipe.from_dict(complete_older(about["recipe"])), about["input_shape"]
        classes = tuple(map(str, about["classes"]))
        return Checkpoint(
            recipe,
            _sizes(shape),
            classes,
            rename_older(tensors),
            about["progress"],
            about.get("preprocessing"),
        )


@contextmanager
def refusing_others(path: Path) -> Iterator[None]:
    """Around the reading of a header, which may hold anything.

    Raises:
        ArtefactError: edgeq did not write it, or another version of edgeq did.
    """
    try:
        yield
    except ArtefactError:
        raise
    except UsageError as error:
        raise ArtefactError(
            f"{path} was written by another version of edgeq: {error.what}", hint=_OTHER_VERSION
        ) from error
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise ArtefactError(
            f"{path} is a safetensors file, but no checkpoint of edgeq",
            hint="name one that edgeq train wrote",
        ) from error


def _sizes(found: list[int]) -> tuple[int, ...]:
    sound = found and all(type(size) is int and size > 0 for size in found)
    if not sound or math.prod(found) > _MOST_NUMBERS:
        raise ValueError(f"the input shape is {found}")
    return tuple(found)


def build_model(recipe: Recipe, input_shape: tuple[int, ...], classes: int) -> nn.Module:
    """The untrained network of a recipe, quantised if the recipe says so.

    Raises:
        UsageError: it is a network of the user's own that they have not named, or that does not
            fit.
    """
    model = (
        build_user(recipe.model, input_shape, classes)
        if is_reference(recipe.model)
        else _of_the_zoo(recipe, input_shape, classes)
    )
    if recipe.scheme is None:
        return model
    return quantize(model, recipe.scheme, torch.zeros(1, *input_shape))


def _of_the_zoo(recipe: Recipe, input_shape: tuple[int, ...], classes: int) -> nn.Module:
    if zoo.describe(recipe.model).reads != "images":
        raise UsageError(
            f"{recipe.model} reads a graph, and {recipe.data} holds images",
            hint="choose a network that reads images",
        )
    if len(input_shape) != _IMAGE_RANK:
        raise UsageError(
            f"{recipe.model} reads images, and the samples of {recipe.data} are of {input_shape}",
            hint="name a network of your own: --model package.module:function",
        )
    channels, height, width = input_shape
    return zoo.build(
        recipe.model, classes=classes, in_channels=channels, image_size=(height, width)
    )


def restore(model: nn.Module, checkpoint: AnyCheckpoint, path: Path) -> None:
    """Put a checkpoint's tensors into a network.

    Raises:
        ArtefactError: the tensors are not this network's.
    """
    restore_tensors(model, checkpoint.tensors, checkpoint.recipe.name, path)


def restore_tensors(
    model: nn.Module, tensors: Mapping[str, torch.Tensor], name: str, path: Path
) -> None:
    """Put the tensors below ``model/`` into a network.

    Raises:
        ArtefactError: the tensors are not this network's, or one holds what is no number.
    """
    found = below(MODEL, tensors)
    accept_older(model, found)
    wanted = model_state(model)
    odd = sorted(wanted.keys() ^ found.keys()) or [
        key for key in wanted if wanted[key].shape != found[key].shape
    ]
    if odd:
        raise ArtefactError(
            f"{path} does not fit {name}: {odd[0]!r} differs",
            hint="was it written by another version of edgeq?",
        )
    if broken := not_finite(found):
        raise ArtefactError(
            f"{path} is damaged: {broken[0]!r} holds NaN or infinity",
            hint="take another copy of it, or train it again",
        )
    with torch.no_grad():
        for key, tensor in wanted.items():
            tensor.copy_(found[key])


def load_model(path: Path, *, rounding: bool = True) -> LoadedModel:
    """The network of a checkpoint, in evaluation mode; the loader registered as ``checkpoint``.

    Args:
        path: the file.
        rounding: false for the FP32 reference of a quantised network: clipped, but never rounded.

    Raises:
        ArtefactError: missing, truncated or foreign.
    """
    about = read_header(path)
    if isinstance(about, dict) and about.get("format") == network_file.FORMAT:
        return network_file.load_network(about, rounding=rounding)
    checkpoint = read(path)
    model = build_model(checkpoint.recipe, checkpoint.input_shape, len(checkpoint.classes))
    restore(model, checkpoint, path)
    set_rounding(model, weights=rounding, activations=rounding)
    recipe = checkpoint.recipe
    metadata = {
        "model": recipe.model,
        "data": recipe.data,
        "scheme": "FP32"
        if recipe.scheme is None
        else f"{recipe.scheme.name} {recipe.scheme.placement}",
        "seed": str(recipe.seed),
        **({} if checkpoint.preprocessing is None else note(checkpoint.preprocessing)),
    }
    return LoadedModel(model.eval(), checkpoint.input_shape, recipe.scheme is not None, metadata)
