"""``edgeq.diff``: what is different in two files of one format."""
