"""What files answer, how fast, and why they differ."""
