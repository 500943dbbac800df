"""Many clips on many devices: a manifest in, results and one record a clip out, whatever dies on the way.

A driver (`driver`) hands orders to workers (`clip_worker`, `clip_work`) through an engine: processes of this machine
(`local_engine`) or actors of a Ray cluster (`ray_engine`). Only orders and receipts pass between them; frames stay
where they are computed. The driver loads no torch.
"""
