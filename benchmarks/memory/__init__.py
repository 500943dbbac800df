"""Peak memory, counted and measured."""
