"""The models, each behind the face of `starvsr.pipelines.upscaler`, and how they are loaded.

``star`` is star-small; ``star_published`` is STAR on I2VGen-XL, with its ``sampling``, ``prompts``, ``acceleration``
and the choices of the released code (``exact``); ``baseline`` is plain interpolation. They know clips, no files.
"""
