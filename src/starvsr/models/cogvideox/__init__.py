"""STAR on CogVideoX: the transformer with LIEM, the causal 3D VAE, T5 prompts, and their files."""
