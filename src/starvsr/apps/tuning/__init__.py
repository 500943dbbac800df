"""Trying models and settings on a part of a clip: time, memory, estimated time of the whole, and how it looks."""
