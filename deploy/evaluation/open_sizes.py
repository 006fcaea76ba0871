"""ONNX files that leave sizes of their inputs open, opened at the sizes of the samples.

Runtimes and tables of tensors need shapes ahead of time; the samples have them, as for calibration.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from edgeq.brief import brief
from edgeq.calibration.feeds.fixed_inputs import with_fixed_inputs
from edgeq.data.batching import fed
from edgeq.errors import ArtefactError
from edgeq.files import temporary_folder
from edgeq.formats.artefact import detect
from edgeq.formats.onnx_io import load, read, serialize

if TYPE_CHECKING:
    from contextlib import ExitStack
    from pathlib import Path

    from edgeq.data import DataSource, Split


@dataclass(slots=True)
class OpenSizes:
    """What stands for a file while it is run: itself, or a copy at the sizes of the samples.

    Attributes:
        part: the samples.
        source: how they are prepared.
        stack: removes the copies.
    """

    part: Split
    source: DataSource
    stack: ExitStack
    _known: dict[Path, Path] = field(default_factory=dict)

    __repr__ = brief

    def fixed(self, path: Path) -> Path:
        """The file to open for an artefact.

        Raises:
            ArtefactError: the samples are not those of its inputs.
        """
        if path not in self._known:
            self._known[path] = self._copy(path) if _leaves_sizes_open(path) else path
        return self._known[path]

    def _copy(self, path: Path) -> Path:
        first = (batch for batch, _ in fed(self.part, self.source, 1))
        model, _ = with_fixed_inputs(read(path), first, lambda _line: None)
        copy = self.stack.enter_context(temporary_folder()) / path.name
        copy.write_bytes(serialize(model))
        return copy


def _leaves_sizes_open(path: Path) -> bool:
    """Whether an ONNX file has an input with another free size than the batch."""
    if detect(path) != "onnx":
        return False
    try:
        graph = load(path, weights=False).graph
    except ArtefactError:  # its own runtime tells what is wrong with it
        return False
    stored = {tensor.name for tensor in graph.initializer}
    return any(
        not size.HasField("dim_value")
        for value in graph.input
        if value.name not in stored
        for size in value.type.tensor_type.shape.dim[1:]
    )
