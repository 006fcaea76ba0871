"""One exporter a format; none of them changes a trained scale or integer."""
