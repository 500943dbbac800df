"""Sums on clips in memory that families, streaming and training share: sizes, borders, colours."""
