"""Benchmarks: data sets of the field read from disk, enlarged by several models, scored, and tabulated.

`sets` describes the data sets, `layout` finds their clips, `inputs` makes what is scored, `frozen` keeps its
checksums, `methods` the models that are run, `run` does it all.
"""
