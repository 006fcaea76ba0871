"""What decides the outcome of a training run, as data, and the recipes that come with edgeq."""
