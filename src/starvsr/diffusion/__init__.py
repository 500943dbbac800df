"""Noise schedules, denoiser wrappers, samplers and noise. Knows nothing of networks or media."""
