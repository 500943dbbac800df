"""Frames in, enlarged frames out, in constant memory: reading ahead, rendering, finishing, writing behind."""
