"""What is provable of a file, beside what is measured where data are given."""
