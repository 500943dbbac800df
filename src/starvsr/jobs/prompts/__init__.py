"""The prompts of jobs whose model reads text: where they are found, and the command that is asked for a caption.

``find`` reads what people wrote, ``captioner`` runs the command of ``--caption`` on what ``clip_frames`` writes,
``captions`` keeps its answer in the job folder, ``request`` is what `starvsr.api.prepare` asks.
"""
