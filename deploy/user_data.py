"""Data of a user's own that a command names as ``package.module:function``.

The function takes nothing; what it may return, :mod:`edgeq.data.user.objects` knows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeq.factories import call

if TYPE_CHECKING:
    from edgeq.data.source import DataSource


def load_user(reference: str) -> DataSource:
    """The data that a function of the user's returns.

    Raises:
        UsageError: the function was not named, fails, or returns something else; or the arrays are
            of the wrong type or shape.
    """
    from edgeq.data import load
    from edgeq.data.user.objects import from_object

    return from_object(call(reference, flag="--data"), reference, load)
