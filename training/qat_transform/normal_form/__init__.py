"""Rewrites of a traced network into few operators, so that nobody behind knows the many."""
