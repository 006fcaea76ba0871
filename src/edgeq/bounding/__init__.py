"""Bounds that hold for every input: norms of layers, and what errors become behind them."""
