"""What keeps a network's steps from expanding."""
