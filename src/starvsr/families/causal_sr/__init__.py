"""causal-sr: a plain causal network in pixels, without latents and timesteps."""
