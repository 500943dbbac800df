"""How sharp clips are made bad on purpose: blur, resize, noise, compression."""
