"""The page of ``edgeq calibrate --explain``: what became of each layer, and why."""
