"""Whether a runtime can be had here, asked of the runtime itself.

An installed package may still fail to load.
"""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, NamedTuple

from edgeq.errors import ArtefactError, TargetError
from edgeq.formats.artefact import detect
from edgeq.target import Availability

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path
    from types import ModuleType

    from edgeq.target import Capabilities


class Runtime(NamedTuple):
    """A Python package that runs artefacts.

    Attributes:
        distribution: what pip calls it.
        module: what has to be imported of it.
    """

    distribution: str
    module: str


def find(runtimes: Sequence[Runtime]) -> tuple[Runtime, ModuleType]:
    """The first of several runtimes, in order of preference, that can be imported.

    Raises:
        TargetError: none can; tells why the preferred one cannot.
    """
    first = ""
    for runtime in runtimes:
        try:
            return runtime, import_module(runtime.module)
        except Exception as error:  # noqa: BLE001  a broken native library raises anything at import
            first = first or f"{runtime.module} cannot be imported: {error}"
    raise TargetError(first, hint=f"pip install {runtimes[0].distribution}")


def installed(runtime: Runtime) -> str:
    """The installed version, or ``unknown`` for a package without metadata."""
    try:
        return version(runtime.distribution)
    except PackageNotFoundError:
        return "unknown"


def probe(runtimes: Sequence[Runtime]) -> Availability:
    """Whether one of the runtimes can be imported; never raises."""
    try:
        runtime, _ = find(runtimes)
    except TargetError as error:
        return Availability(usable=False, why_not=error.what, hint=error.hint)
    return Availability(usable=True, versions={runtime.distribution: installed(runtime)})


def require_format(artefact: Path, capabilities: Capabilities) -> None:
    """Refuse a file that is missing, empty, or of a format that the target does not open.

    Raises:
        ArtefactError: with what the file is and what the target takes.
    """
    found = detect(artefact)
    if found not in capabilities.formats:
        wanted = ", ".join(sorted(capabilities.formats))
        raise ArtefactError(
            f"{artefact} is in the format {found}, and this target opens {wanted}",
            hint="edgeq export writes the other formats",
        )
