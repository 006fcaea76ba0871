"""What a person runs: the command line, comparison, profiling, gate and report."""
