"""Quantisation-aware training: quantisers, their insertion into a model, the training loop, checkpoints."""
