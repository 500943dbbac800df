"""star-small: the STAR network at small width, one step, no text."""
