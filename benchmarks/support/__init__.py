"""What several benchmarks share: their command line, networks, peers and averages."""
