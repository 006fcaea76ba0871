"""What each runtime would do with a file, operator by operator, before it runs."""
