"""Data of the user's own, in the forms that people have them in; read a batch at a time."""
