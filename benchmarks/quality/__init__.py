"""Quality of the pictures."""
