"""Interruptions, damaged and hostile inputs, exactness."""
