"""Pure functions: a record in, a small dataclass or DataFrame out. No GPU, no torch, no notebook."""
