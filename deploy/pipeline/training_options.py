"""The recipe that a file and the flags of ``edgeq train`` come to."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from edgeq.deploy.scheme_check.options import WEIGHT_BITS
from edgeq.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from edgeq.training.recipes.recipe import Recipe
    from edgeq.training.recipes.scheme import Scheme


_EMBEDDED = "digits"


def recipe_of(
    path: Path | None,
    model: str | None,
    data: str | None,
    flags: Mapping[str, Any],
    scheme: Callable[[Scheme | None], Scheme | None],
) -> Recipe:
    """The recipe of a file, or the default one, with what flags say in its place.

    Args:
        path: a TOML file, or None.
        model: of the zoo; None for the file's.
        data: a data set; None for the file's.
        flags: by the fields of :class:`edgeq.training.recipes.recipe.Recipe`; None for one that was
            not given.
        scheme: makes the run's scheme of the recipe's.

    Raises:
        UsageError: no network is named, or a value is none that can be.
    """
    from edgeq.network.checks import read_toml
    from edgeq.training.recipes.optimization import Optimizer, Schedule
    from edgeq.training.recipes.recipe import Recipe
    from edgeq.training.recipes.scheme import Scheme

    given = {
        name: value
        for name, value in {"model": model, "data": data, **flags}.items()
        if value is not None
    }
    if path is None and model is None:
        raise UsageError(
            "no model is named",
            hint="name one of edgeq models, one of your own with --model "
            "package.module:function, or give --recipe",
        )
    base = (
        Recipe.from_dict({**_named(model, data), **read_toml(path)})
        if path is not None
        else Recipe(str(model), data or _EMBEDDED, Scheme(weight_bits=WEIGHT_BITS))
    )
    for name, held, kind in (
        ("optimizer", base.optimizer, Optimizer),
        ("schedule", base.schedule, Schedule),
    ):
        if name in given:  # another one than the recipe's has its constants by default
            given[name] = held if given[name] == held.name else kind(given[name])
    return replace(base, scheme=scheme(base.scheme), **given)


def _named(model: str | None, data: str | None) -> dict[str, str]:
    """What a recipe may leave out, such as the scheme alone that ``edgeq search`` writes."""
    return {} if model is None else {"model": model, "data": data or _EMBEDDED}
