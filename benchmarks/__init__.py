"""Side-by-side measurements; none of them decides a test."""
