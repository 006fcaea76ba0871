"""``python -m edgeq`` is the command ``edgeq``."""

from edgeq.deploy.cli import main

if __name__ == "__main__":
    main()
