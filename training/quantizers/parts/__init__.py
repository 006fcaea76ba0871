"""What several quantisers share."""
