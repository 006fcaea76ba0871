"""What the rooms agree on about a network: how it is opened and lowered, and where its quantisers stand."""
