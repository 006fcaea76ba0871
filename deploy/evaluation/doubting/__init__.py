"""What may be wrong with labels and samples where answers are poor."""
