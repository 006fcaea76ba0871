"""The command ``edgeq``, and ``python -m edgeq``.

From its first import on, Ctrl-C ends it in a line. Modules that a command seldom uses wait here,
not at ``import edgeq``: how a program of its own imports is left to it.
"""

import sys


def main() -> None:
    """Import the command line and run it."""
    try:
        from edgeq.deferred_imports import install

        install()
        from edgeq.deploy.cli import main as run

        run()
    except KeyboardInterrupt:  # while the command line was imported; from then on it says so itself
        from edgeq.errors import Interrupted

        if sys.stderr is not None:
            sys.stderr.write(f"edgeq: {Interrupted()}\n")
        sys.exit(Interrupted.exit_code)


if __name__ == "__main__":
    main()
