"""The model families, one package each, behind the protocol of `starvsr.engine.upscaler`, and how they are loaded.

``star_small`` ships with its weights, ``causal_sr`` is a plain causal network, ``star_i2vgen`` is the published STAR on
I2VGen-XL, ``bicubic`` is plain interpolation.
"""
