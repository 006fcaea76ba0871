"""A calibration that was interrupted goes on where it stood, to the bits of one that was not."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir

from edgeq.calibration._nodes import constant
from edgeq.calibration.statistics.file import MethodRecord, from_bytes, to_bytes
from edgeq.errors import ArtefactError, OutputError
from edgeq.files import read_bytes, write_bytes
from edgeq.tabular import counted

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from edgeq.calibration.checked_plugins import CheckedObserver
    from edgeq.calibration.statistics import Statistics

_LIMIT = 2**31
EVERY_S = 5.0
"""Seconds between two writings, at least."""


class Progress:
    """What a calibration has done, kept in a file while it runs.

    Args:
        path: the file; None keeps nothing.
        total: how many batches there are in all shards, where this is one.
        tell: called with what a person should know.
    """

    def __init__(
        self,
        path: Path | None = None,
        *,
        total: int | None = None,
        tell: Callable[[str], None] = lambda _line: None,
    ) -> None:
        self._path, self._total, self._tell = path, total, tell
        self._written = time.monotonic()
        self._gave_up = self._kept = False
        self._statistics: Statistics | None = None
        self._methods: list[MethodRecord] = []
        self._restored: list[MethodRecord] = []

    def begin(self, fresh: Statistics, make: Callable[[], CheckedObserver]) -> Statistics:
        """What was seen before an interruption; else ``fresh``.

        Args:
            fresh: statistics of what is to be calibrated, empty or complete.
            make: makes an observer.
        """
        self._statistics = fresh
        path = self._path
        if path is None or not path.exists():
            return fresh
        try:
            content = read_bytes(path, "statistics", limit=_LIMIT)
            found = from_bytes(content, make, path, fresh.origin)
        except ArtefactError as error:
            self._tell(f"{path.name} is not gone on with: {error.what}")
            return fresh
        self._restored, self._kept = found.methods, True
        if not fresh.digests:
            self._statistics = found.statistics
        layers = sum(len(each.layers) for each in found.methods)
        self._tell(
            f"going on from {path.name}: "
            f"{counted(len(self._statistics.digests), 'batch', 'were')} seen"
            + (f", and {counted(layers, 'layer', 'were')} done" if layers else "")
        )
        return self._statistics

    def seen(self) -> None:
        """One more batch was seen."""
        self._perhaps_write()

    def of_method(self, name: str, graph: ir.Graph) -> MethodProgress:
        """What the next method has done so far.

        Args:
            name: the method, as it was asked for.
            graph: whose constants it changes.
        """
        number = len(self._methods)
        record = MethodRecord(name)
        if number < len(self._restored) and self._restored[number].name == name:
            record = self._restored[number]
        else:
            self._restored = []  # those behind it rest on another one
        self._methods.append(record)
        return MethodProgress(record, graph, self._perhaps_write)

    def _perhaps_write(self) -> None:
        if self._gave_up or time.monotonic() - self._written < EVERY_S:
            return
        self._written = time.monotonic()
        try:
            self.write()
        except OutputError as error:
            self._tell(f"{error.what}: an interruption would lose what was done")
            self._gave_up = True

    def write(self) -> None:
        """Keep what was done.

        Raises:
            OutputError: the file cannot be written.
        """
        if self._path is None or self._statistics is None or not self._statistics.mergeable:
            return
        write_bytes(
            self._path, to_bytes(self._statistics, self._total, self._methods), overwrite=True
        )
        self._kept = True

    def kept(self) -> bool:
        """Whether the file holds anything of this calibration."""
        return self._kept

    def finish(self) -> None:
        """Remove the file."""
        if self._path is not None:
            self._path.unlink(missing_ok=True)


class MethodProgress:
    """The layers that one method is done with.

    Args:
        record: what is kept of it.
        graph: the quantised graph.
        changed: called when there is more to keep.
    """

    def __init__(self, record: MethodRecord, graph: ir.Graph, changed: Callable[[], None]) -> None:
        self._record, self._graph, self._changed = record, graph, changed
        for name, array in record.constants.items():
            graph.initializers[name].const_value = ir.tensor(array, name=name)
        self._known = {name: value.const_value for name, value in graph.initializers.items()}

    @property
    def done(self) -> bool:
        """Whether nothing is left to do."""
        return self._record.done

    def knows(self, node: ir.Node) -> bool:
        """Whether a layer was done before the interruption."""
        return str(node.name) in self._record.layers

    def keep(self, nodes: Sequence[ir.Node]) -> None:
        """Some layers are done, and their integers stay as they are."""
        self._record.layers += [str(node.name) for node in nodes]
        self._store()

    def finish(self) -> None:
        """The whole method is done."""
        self._record.done = True
        self._store()

    def _store(self) -> None:
        for name, value in self._graph.initializers.items():
            array = None if value.const_value is self._known[name] else constant(value)
            if array is not None:
                self._record.constants[name] = np.array(array, order="C")
                self._known[name] = value.const_value
        self._changed()
