"""Decode in a process of its own: a crash, a hang or a blow-up of the decoder ends that process and nothing else.

The parent trusts nothing that comes back: messages are JSON of a bounded length, read into checked types, and raw
pixels of a size that is known before. The child may write no files and takes no more memory than it is given.
"""
