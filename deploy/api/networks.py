"""Networks of one's own as artefacts, so that they can stand beside files in a comparison."""

from __future__ import annotations

import copy
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from edgeq.deploy.user_code import user_code_of
from edgeq.errors import UsageError
from edgeq.factories import call, permit, provided
from edgeq.files import temporary_folder

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from torch import nn

    from edgeq.data import DataSource


@contextmanager
def as_files(
    artefacts: Sequence[str | Path | nn.Module], source: DataSource | None
) -> Iterator[list[Path]]:
    """The paths of files, and for each network that of a checkpoint which lives as long.

    Args:
        artefacts: files, training folders and networks.
        source: data that the networks read.

    Raises:
        UsageError: a network is none, or has no data of one input to read.
    """
    from edgeq.deploy.api.exporting import unwrapped

    with ExitStack() as stack:
        yield [
            Path(each)
            if isinstance(each, str | Path)
            else _file(unwrapped(each), type(unwrapped(each)).__name__, source, stack)
            for each in artefacts
        ]


@contextmanager
def with_model(
    artefacts: Sequence[Path],
    reference: str | None,
    source: DataSource | None,
    flag: str = "--data",
) -> Iterator[list[Path]]:
    """The artefacts of a command line and what ``--model`` adds to them.

    The network itself stands in front, unless a checkpoint names its function: then that one is
    opened with it.

    Args:
        artefacts: files and training folders.
        reference: ``package.module:function``; None for none.
        source: data that the network reads.
        flag: the option that names them.

    Raises:
        UsageError: there is no such function, it returns no network, or the network has no data of
            one input to read.
        ArtefactError: an artefact is missing.
    """
    if reference is None:
        yield list(artefacts)
        return
    from edgeq.deploy.api.exporting import unwrapped

    permit(reference)
    if reference in map(user_code_of, artefacts):
        yield list(artefacts)
        return
    network = unwrapped(call(reference, flag="--model"))
    with ExitStack() as stack:
        yield [_file(network, reference, source, stack, flag), *artefacts]


def only(files: Sequence[Path]) -> Path:
    """The one network that a command works on.

    Raises:
        UsageError: none is named, or two are.
    """
    if not files:
        raise UsageError(
            "no network is named", hint="name a file or a training folder, or give --model"
        )
    if len(files) > 1:
        raise UsageError(
            f"two networks are named, {files[0].stem} and {files[1]}", hint="name one of them"
        )
    return files[0]


def _file(
    network: nn.Module,
    name: str,
    source: DataSource | None,
    stack: ExitStack,
    flag: str = "--data",
) -> Path:
    """The checkpoint that stands for a network until the stack is closed."""
    from edgeq.training.checkpoint import write_network

    if source is None:
        raise UsageError(
            f"the network {name} needs data, whose size its input has", hint=f"give {flag}"
        )
    folder = stack.enter_context(temporary_folder())
    stack.enter_context(provided(folder.name, partial(_copied, network)))
    path = folder / f"{name}.safetensors"
    write_network(path, folder.name, network, source.shape)
    return path


def _copied(network: nn.Module) -> nn.Module:
    """A target changes what it opens."""
    return copy.deepcopy(network).cpu()
