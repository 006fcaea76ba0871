"""From what a user types to what a command works on; every refusal names what was typed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from edgeq.deploy.preprocessing import AskedPreprocessing, resolved
from edgeq.errors import UnknownName, UsageError
from edgeq.factories import is_reference, permit

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
    return source if found == source.preprocessing else source.with_preprocessing(found)


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
        UsageError: they would not be fed as float numbers; see :func:`load_data` for the rest.
    """
    named = (recipe.init_from, recipe.teacher)
    read = [*([resumed] if resumed else ()), *(Path(name) for name in named if name is not None)]
    source = load_data(recipe.data, folder, asked, read)
    if source.preprocessing.dtype != "float32":
        raise UsageError(
            f"a network is trained on float numbers, not on {source.preprocessing.dtype}",
            hint="leave --dtype out",
        )
    return source


def data_for(networks: Sequence[object], data: DataSource | str) -> DataSource:
    """Data by name, fed as the files among some networks note; a data source stays as it is.

    Raises:
        UsageError: the files note different preprocessings, or see :func:`load_data`.
    """
    if not isinstance(data, str):
        return data
    files = [Path(each) for each in networks if isinstance(each, str | Path)]
    return load_data(data, None, artefacts=[path for path in files if path.exists()])
