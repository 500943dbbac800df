"""Media in and out: probe, read, write, pixel ranges, scene cuts. Knows nothing of networks."""
