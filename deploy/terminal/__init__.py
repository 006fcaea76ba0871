"""How text and tables fit a terminal."""
