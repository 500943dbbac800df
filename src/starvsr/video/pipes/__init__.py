"""Video in pipes: read once from beginning to end, and written frame by frame, without a file."""
