"""Optical flow: estimators behind one protocol, for measuring and for models that align frames."""
