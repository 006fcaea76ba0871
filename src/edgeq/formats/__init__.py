"""Files of models: what format one is in, and the readers and writers that every room shares."""
