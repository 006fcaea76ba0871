"""One file a runtime; each makes targets of the names a user types."""
