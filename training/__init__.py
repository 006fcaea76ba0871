"""Quantisation-aware training: quantisers, the model transform, the loop, checkpoints."""
