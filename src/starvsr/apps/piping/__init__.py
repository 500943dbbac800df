"""Upscaling from and into pipes: y4m or NUT on standard input and standard output, without a file."""
