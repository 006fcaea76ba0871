"""Precision search: which layers need how many bits.

A :mod:`study <edgeq.calibration.search.study>` tries precisions and remembers what came of them. A
strategy, one a file, decides what is tried next; none knows how a network is quantised or judged.
"""
