"""A benchmark is a command: what stops it is told in words, with edgeq's exit codes."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from edgeq.errors import EdgeqError, Interrupted

if TYPE_CHECKING:
    from collections.abc import Callable


def run(main: Callable[[], None]) -> None:
    """Call a benchmark's ``main``.

    An error of edgeq's, or Ctrl-C, ends the process without a traceback.
    """
    try:
        main()
    except (EdgeqError, Interrupted) as error:
        print(error, file=sys.stderr)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.exit(Interrupted.exit_code)
