"""From what a user types to what a command works on; every refusal names what was typed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeq.deploy.options import PREPROCESSING
from edgeq.errors import UnknownName
from edgeq.factories import is_reference, permit

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from edgeq.data import DataSource
    from edgeq.data.statistics import Normalization


def choose(kind: str, value: str, known: Sequence[str]) -> str:
    """The value, when it is one of those known.

    Raises:
        UnknownName: it is not; offers the nearest.
    """
    if value not in known:
        raise UnknownName(kind, value, known)
    return value


def load_data(name: str, folder: Path | None, preprocess: str = "dataset") -> DataSource:
    """A data set in the normalisation asked for.

    ``package.module:function`` is one of the user's own. The name has to come from the command
    line, where it permits to run that function.

    Raises:
        UnknownName: an unknown data set or normalisation.
        UsageError: the normalisation does not suit the images, or no data folder is named.
        ArtefactError: the files are missing or broken.
    """
    choose("preprocessing", preprocess, PREPROCESSING)
    from edgeq.data import load

    if is_reference(name):
        from edgeq.deploy.user_data import load_user

        permit(name)
        source = load_user(name)
    else:
        source = load(name, folder)
    return (
        source
        if preprocess == "dataset"
        else source.with_normalization(*normalizations(source)[preprocess])
    )


def normalizations(source: DataSource) -> dict[str, Normalization]:
    """Those that are no data set's own, by the name that ``--preprocess`` knows them by."""
    from edgeq.data.statistics import IMAGENET

    channels = source.shape[0]
    return {"imagenet": IMAGENET, "raw": ((0.0,) * channels, (1 / 255,) * channels)}
