"""Making low-quality clips out of sharp ones: kernels, noise, compression, and recipes that combine them."""
