"""From what a user types to what a command works on; every refusal names what was typed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edgeq.data.checks import check
from edgeq.deploy.preprocessing import AskedPreprocessing, resolved
from edgeq.errors import UnknownName, UsageError
from edgeq.factories import is_reference, permit
from edgeq.tabular import counted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edgeq.data import DataSource
    from edgeq.training.recipes.recipe import Recipe


def choose(kind: str, value: str, known: Sequence[str]) -> str:
    """The value, when it is one of those known.

    Raises:
        UnknownName: it is not; offers the nearest.
    """
    if value not in known:
        raise UnknownName(kind, value, known)
    return value


def load_data(
    name: object,
    folder: Path | None,
    asked: AskedPreprocessing | None = None,
    artefacts: Sequence[Path] = (),
) -> DataSource:
    """A data set, fed as a person says, as the artefacts note, or as the data have it.

    ``package.module:function`` is one of the user's own. The name has to come from the command
    line, where it permits to run that function.

    Args:
        name: a registered name, a folder or file, a function, or data that its owner holds.
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

    if isinstance(name, str) and is_reference(name):
        from edgeq.deploy.user_data import load_user

        permit(name)
        source = load_user(name)
    elif isinstance(name, str | Path):
        source = load(str(name), folder)
    else:
        from edgeq.data.user.objects import from_object

        source = from_object(name, "your data", load)
    found = resolved(source, asked or AskedPreprocessing(), artefacts)
    own = source.preprocessing
    fed = (
        source if found == own else replace(source.with_preprocessing(found), own_preprocessing=own)
    )
    return without_set_aside(fed, artefacts)


def without_set_aside(source: DataSource, artefacts: Sequence[Path]) -> DataSource:
    """Data of one part without the samples that artefacts were calibrated on.

    They become the training samples.
    """
    from edgeq.data.splitting import set_aside
    from edgeq.formats.preprocessing_note import SET_ASIDE, noted_in

    part = source.test
    if len(source.train) or len(part) < 2:
        return source
    notes = [noted_in(artefact, SET_ASIDE) or {} for artefact in artefacts]
    used = max(
        (
            int(note.get("samples", 0))
            for note in notes
            if (note.get("data"), note.get("count")) == (source.name, len(part))
        ),
        default=0,
    )
    if not used:
        return source
    where = set_aside(len(part), used)
    rest = np.setdiff1d(np.arange(len(part)), where)
    remark = (
        f"{source.name} has one part of {counted(len(part), 'sample')}: without the "
        f"{len(where):,} calibrated on, {len(rest):,} are left for the test"
    )
    return replace(source, train=part.take(where), test=part.take(rest), remark=remark)


def training_data(
    recipe: Recipe,
    folder: Path | None,
    asked: AskedPreprocessing | None = None,
    resumed: Path | None = None,
) -> DataSource:
    """The data of a training run; see :func:`load_data`.

    Args:
        recipe: the run, which may begin from a checkpoint, or learn from one.
        folder: of registered data sets.
        asked: what a person says of the preprocessing.
        resumed: the checkpoint that the run goes on from.

    Raises:
        UsageError: they would not be fed as float numbers; see :func:`load_data` and
            :func:`edgeq.data.checks.check` for the rest.
        ArtefactError: see there.
    """
    named = (recipe.init_from, recipe.teacher)
    read = [*([resumed] if resumed else ()), *(Path(name) for name in named if name is not None)]
    source = load_data(recipe.data, folder, asked, read)
    if source.preprocessing.dtype != "float32":
        raise UsageError(
            f"a network is trained on float numbers, not on {source.preprocessing.dtype}",
            hint="leave --dtype out",
        )
    for part in (source.train, source.validation, source.test):
        check(part, source.preprocessing)  # the last of them is read when all is trained
    return source


def data_for(networks: Sequence[object], data: DataSource | str) -> DataSource:
    """Data by name, fed as the files among some networks note; a data source is fed as it says.

    Raises:
        UsageError: the files note different preprocessings, or see :func:`load_data`.
    """
    named = [Path(each) for each in networks if isinstance(each, str | Path)]
    files = [path for path in named if path.exists()]
    if isinstance(data, str):
        return load_data(data, None, artefacts=files)
    return without_set_aside(data, files)
