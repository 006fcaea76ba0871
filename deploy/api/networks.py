"""A network in memory as an artefact, so that it can stand beside files in a comparison."""

from __future__ import annotations

import copy
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from edgeq.factories import provided

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from torch import nn


@contextmanager
def as_files(
    artefacts: Sequence[str | Path | nn.Module], input_shape: tuple[int, ...]
) -> Iterator[list[Path]]:
    """The paths of files, and for each network that of a checkpoint which lives as long.

    Args:
        artefacts: files, training folders and networks.
        input_shape: of one sample, as the networks read it.

    Raises:
        UsageError: a network is none.
    """
    if all(isinstance(each, str | Path) for each in artefacts):
        yield [Path(str(each)) for each in artefacts]
        return
    from edgeq.deploy.api.exporting import unwrapped
    from edgeq.training.checkpoint import write_network

    with TemporaryDirectory(prefix="edgeq-networks-") as folder, ExitStack() as stack:
        paths = []
        for number, each in enumerate(artefacts):
            if isinstance(each, str | Path):
                paths.append(Path(each))
                continue
            network = unwrapped(each)
            name = type(network).__name__
            key = f"{name}-{number}"
            stack.enter_context(provided(key, partial(_copied, network)))
            path = Path(folder) / str(number) / f"{name}.safetensors"
            path.parent.mkdir()
            write_network(path, key, network, input_shape)
            paths.append(path)
        yield paths


def _copied(network: nn.Module) -> nn.Module:
    """A target changes what it opens."""
    return copy.deepcopy(network).cpu()
