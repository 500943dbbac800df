"""Measuring results: fidelity, perception, temporal stability."""
