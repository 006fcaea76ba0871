"""QOperator files, read as the QDQ files that they mean."""
