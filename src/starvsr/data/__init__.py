"""Clips for training and evaluation: sharp sources, degraded pools, fixed pairs."""
