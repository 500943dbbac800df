"""The temporal autoencoder of Stable Video Diffusion and its use as a codec."""
