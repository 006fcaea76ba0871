"""From a network to files: training, calibrating, exporting, and the demo of all of it."""
