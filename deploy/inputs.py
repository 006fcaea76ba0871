"""From what a user types to what a command works on; every refusal names what was typed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeq.deploy.preprocessing import AskedPreprocessing, resolved
from edgeq.errors import UnknownName
from edgeq.factories import is_reference, permit

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from edgeq.data import DataSource


def choose(kind: str, value: str, known: Sequence[str]) -> str:
    """The value, when it is one of those known.

    Raises:
        UnknownName: it is not; offers the nearest.
    """
    if value not in known:
        raise UnknownName(kind, value, known)
    return value


def load_data(
    name: str,
    folder: Path | None,
    asked: AskedPreprocessing | None = None,
    artefacts: Sequence[Path] = (),
) -> DataSource:
    """A data set, fed as a person says, as the artefacts note, or as the data have it.

    ``package.module:function`` is one of the user's own. The name has to come from the command
    line, where it permits to run that function.

    Args:
        name: a registered name, a folder or file, or a function.
        folder: of registered data sets.
        asked: what a person says of the preprocessing.
        artefacts: the files that are fed.

    Raises:
        UnknownName: an unknown data set or preprocessing.
        UsageError: the preprocessing does not suit the samples, contradicts an artefact's note, or
            no data folder is named.
        ArtefactError: the files are missing or broken.
    """
    from edgeq.data import load

    if is_reference(name):
        from edgeq.deploy.user_data import load_user

        permit(name)
        source = load_user(name)
    else:
        source = load(name, folder)
    found = resolved(source, asked or AskedPreprocessing(), artefacts)
    return source if found == source.preprocessing else source.with_preprocessing(found)
