"""``edgeq lint``: files through the rules of :mod:`edgeq.linting`, and what is written of it."""
