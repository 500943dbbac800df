"""DOVER: the technical and the aesthetic quality of a video, judged without a reference.

Source: Wu et al. 2023 (arXiv 2211.04894). The networks and the sampling are our own code after the published
architecture; the published weights are loaded (non-commercial licence).
"""
