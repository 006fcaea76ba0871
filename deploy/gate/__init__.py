"""The gate: rules in a committed file, judged against a committed baseline."""
