"""What commands that make files and networks found: layers, files, curves and trials."""
