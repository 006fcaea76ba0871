"""What moves the weights: losses, optimisers and what is done after a step."""
