"""Graph networks: their recipes, quantisers, training and checkpoints; the graph is one and whole in every step."""
