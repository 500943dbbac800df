"""StableVSR: an image diffusion upscaler whose frames are kept consistent by what their neighbours will look like."""
