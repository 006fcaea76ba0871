"""What CI services read of a gate: JUnit, SARIF, Markdown, annotations and outputs."""
