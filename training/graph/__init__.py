"""Graph networks: their recipes, quantisers, training and checkpoints.

The graph is one and whole in every step.
"""
