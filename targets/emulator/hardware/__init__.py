"""Hardware profiles: one TOML file each, and what is read from them."""
