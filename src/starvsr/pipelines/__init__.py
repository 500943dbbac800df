"""From low-quality frames to high-quality frames: options, families, colour, streaming."""
