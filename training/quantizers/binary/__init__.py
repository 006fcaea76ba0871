"""Weights and activations of one bit."""
