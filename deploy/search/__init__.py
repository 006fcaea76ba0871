"""Precision search on files and data: what :mod:`edgeq.calibration.search` tries, judged."""
