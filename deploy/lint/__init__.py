"""``edgeq lint``: files through the rules of :mod:`edgeq.lint`, and what is written of it."""
