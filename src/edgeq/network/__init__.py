"""What the rooms share about a network: loading, layer protocols, placement of quantisers."""
