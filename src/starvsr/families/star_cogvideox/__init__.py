"""STAR on CogVideoX."""
