"""Published results, repeated: one table or paper a file."""
