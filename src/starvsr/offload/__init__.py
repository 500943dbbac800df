"""Running large networks within a memory budget.

Weight placement, the search for a plan that fits, smaller plans after out-of-memory errors. Knows no model family:
each gives a `starvsr.offload.footprint.Footprint`.
"""
