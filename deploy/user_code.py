"""Which code of a user's own a command may run.

What the command line names, and nothing that only a file does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeq.errors import UsageError
from edgeq.factories import is_reference, permit
from edgeq.formats.artefact import detect, resolve

if TYPE_CHECKING:
    from pathlib import Path


def named_model(model: str | None, own: str | None) -> str | None:
    """The network that a command trains: of the zoo, or the user's own, which is imported.

    Args:
        model: the argument.
        own: the value of ``--model``.

    Raises:
        UsageError: both are given, the argument is code, or its import fails.
    """
    if model is not None and is_reference(model):
        raise UsageError(
            f"{model} is no name of edgeq models",
            hint=f"a network of your own goes behind its flag: --model {model}",
        )
    if own is None:
        return model
    if model is not None:
        raise UsageError(f"two networks are named, {model} and {own}", hint="name one of them")
    permit(own)
    return own


def check_named(data: str, given: str | None) -> None:
    """Refuse data of somebody's own that only a recipe names.

    Args:
        data: what the run is to read.
        given: the value of ``--data``.

    Raises:
        UsageError: it is code, and not named on the command line.
    """
    if is_reference(data) and data != given:
        raise UsageError(
            f"the recipe names code, {data}",
            hint=f"where you trust it, name it yourself: --data {data}",
        )


def user_code_of(artefact: Path) -> str:
    """The ``package.module:function`` that makes a checkpoint's network; empty for other files.

    Raises:
        ArtefactError: the artefact is missing or broken.
    """
    from edgeq.training.checkpoint import read_header

    path = resolve(artefact)
    if detect(path) != "checkpoint":
        return ""
    about = read_header(path)
    model = about.get("recipe", {}).get("model") if isinstance(about, dict) else None
    return model if isinstance(model, str) and is_reference(model) else ""
