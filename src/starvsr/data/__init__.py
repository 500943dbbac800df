"""Training data: clips, photos with synthetic motion, pairs."""
