"""A training run: batches, steps, records, and how it stops and resumes."""
