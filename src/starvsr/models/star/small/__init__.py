"""star-small: the STAR network at small width, and the fused form that runs its single step."""
