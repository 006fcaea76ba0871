"""Training, export, comparison and report of small networks in one go."""
