"""What a profile tells beside latency: speed-ups, operators, start-up, throughput, files."""
