"""Evaluation of results: pairing, checks before scoring, scores with uncertainty, tables, comparison, a page.

:mod:`starvsr.metrics` measures arrays; this package knows files, data sets, protocols and reports.
"""
