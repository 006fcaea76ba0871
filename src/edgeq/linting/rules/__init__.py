"""The rules: one a file, by entry point in ``edgeq.lint_rules``."""
