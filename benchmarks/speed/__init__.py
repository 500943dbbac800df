"""Speed and processor time."""
