"""Training: recipes, losses, objectives, the loop, checkpoints."""
