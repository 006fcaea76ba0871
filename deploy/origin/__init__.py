"""A quantised file held against the float file that it was made from."""
