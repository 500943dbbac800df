"""Writing media: encoders, containers, images, and outputs that appear only when they are whole."""
