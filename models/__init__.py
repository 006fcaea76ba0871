"""The networks: stable ones, and the baselines they are compared with."""
