"""Published values, as their authors print them. A table of another paper is another protocol."""

from __future__ import annotations

import math
from dataclasses import dataclass

_NO = math.nan
Row = tuple[str, str, tuple[float, ...]]
"""Benchmark, model, values in the order of the source's metrics."""


@dataclass(frozen=True)
class Source:
    """Where values come from.

    Attributes:
        name: What the command line calls it.
        title: Paper and table.
        caveat: What it leaves unsaid, or what is known about it.
        metrics: Names of the metrics, as they are published.
        rows: The values; NaN where there is none.
        is_own: Whether the authors measured their own model.
    """

    name: str
    title: str
    caveat: str
    metrics: tuple[str, ...]
    rows: tuple[Row, ...]
    is_own: bool = False


STAR = Source(
    name="star",
    title="Xie et al. 2025, STAR (arXiv 2501.02976), Table 1",
    caveat="degraded by the authors, the clips are not public; colour of PSNR and SSIM, network of LPIPS, flow "
    "and mask of E*warp are not stated",
    metrics=("PSNR", "SSIM", "LPIPS", "DOVER", "E*warp", "ILNIQE"),
    rows=(
        ("udm10", "STAR", (23.91, 0.7164, 0.1885, 0.5422, 2.68, _NO)),
        ("reds30", "STAR", (20.29, 0.5411, 0.2804, 0.4017, 7.30, _NO)),
        ("openvid30", "STAR", (25.30, 0.8371, 0.1011, 0.7393, 1.82, _NO)),
        ("videolq", "STAR", (_NO, _NO, _NO, 0.5431, 6.38, 25.35)),
    ),
    is_own=True,
)
STABLEVSR = Source(
    name="stablevsr",
    title="Rota et al. 2024, StableVSR (arXiv 2311.15908), REDS4 at bicubic x4",
    caveat="RGB, means over frames, then clips; tLPIPS is printed as tLP; flow by RAFT",
    metrics=("PSNR", "LPIPS", "DISTS", "tLPIPS", "tOF"),
    rows=(("reds4", "StableVSR", (27.97, 0.097, 0.045, 5.57, 2.68)),),
    is_own=True,
)
_SIX = ("PSNR", "SSIM", "LPIPS", "DISTS", "DOVER", "E*warp")
DOVE = Source(
    name="dove",
    title="DOVE, Table 2 (its evaluation copies of the sets)",
    caveat="read off a picture of the table; its code takes PSNR of RGB, SSIM of full-range luma, LPIPS with AlexNet",
    metrics=_SIX,
    rows=(
        ("udm10", "Real-ESRGAN", (24.04, 0.7107, 0.3877, 0.2184, 0.7060, 4.83)),
        ("udm10", "RealBasicVSR", (24.13, 0.6801, 0.3908, 0.2067, 0.7564, 3.10)),
        ("udm10", "Upscale-A-Video", (21.72, 0.5913, 0.4116, 0.2230, 0.7291, 3.97)),
        ("udm10", "MGLD-VSR", (24.23, 0.6957, 0.3272, 0.1677, 0.7264, 3.59)),
        ("udm10", "VEnhancer", (21.32, 0.6811, 0.4344, 0.2310, 0.4576, 1.03)),
        ("udm10", "STAR", (23.47, 0.6804, 0.4242, 0.2156, 0.4830, 2.08)),
        ("udm10", "DOVE", (26.48, 0.7827, 0.2696, 0.1492, 0.7809, 1.77)),
        ("spmcs", "Real-ESRGAN", (21.22, 0.5613, 0.3721, 0.2220, 0.7490, 5.61)),
        ("spmcs", "RealBasicVSR", (22.17, 0.5638, 0.3662, 0.2164, 0.6753, 1.88)),
        ("spmcs", "Upscale-A-Video", (18.81, 0.4113, 0.4468, 0.2452, 0.7171, 4.22)),
        ("spmcs", "MGLD-VSR", (22.39, 0.5896, 0.3263, 0.1960, 0.6754, 1.68)),
        ("spmcs", "VEnhancer", (18.58, 0.4850, 0.5358, 0.2669, 0.4284, 1.19)),
        ("spmcs", "STAR", (21.24, 0.5441, 0.5257, 0.2872, 0.3204, 1.01)),
        ("spmcs", "DOVE", (23.11, 0.6210, 0.2888, 0.1713, 0.7828, 1.04)),
        ("youhq40", "Real-ESRGAN", (22.82, 0.6337, 0.3571, 0.1790, 0.8572, 5.91)),
        ("youhq40", "RealBasicVSR", (22.39, 0.5895, 0.4091, 0.1933, 0.8596, 3.08)),
        ("youhq40", "Upscale-A-Video", (19.62, 0.4824, 0.4268, 0.2012, 0.8596, 6.84)),
        ("youhq40", "MGLD-VSR", (23.17, 0.6194, 0.3608, 0.1685, 0.8446, 3.45)),
        ("youhq40", "VEnhancer", (19.78, 0.5911, 0.4742, 0.2140, 0.6957, 0.95)),
        ("youhq40", "STAR", (22.64, 0.6323, 0.4600, 0.2287, 0.5594, 2.21)),
        ("youhq40", "DOVE", (24.30, 0.6740, 0.2997, 0.1477, 0.8574, 2.05)),
        ("mvsr4x", "Real-ESRGAN", (22.47, 0.7412, 0.4534, 0.3021, 0.2111, 1.64)),
        ("mvsr4x", "RealBasicVSR", (21.80, 0.7045, 0.4235, 0.2498, 0.6846, 1.69)),
        ("mvsr4x", "Upscale-A-Video", (20.42, 0.6117, 0.4717, 0.2673, 0.7221, 5.10)),
        ("mvsr4x", "MGLD-VSR", (22.77, 0.7418, 0.3568, 0.2245, 0.6214, 1.55)),
        ("mvsr4x", "VEnhancer", (20.50, 0.7117, 0.4471, 0.2800, 0.3164, 0.62)),
        ("mvsr4x", "STAR", (22.42, 0.7421, 0.4311, 0.2714, 0.2137, 0.61)),
        ("mvsr4x", "DOVE", (22.42, 0.7523, 0.3476, 0.2363, 0.6984, 0.78)),
        ("realvsr", "STAR", (17.43, 0.5215, 0.2943, 0.1599, 0.7051, 9.88)),
        ("realvsr", "DOVE", (22.32, 0.7301, 0.1851, 0.0978, 0.7867, 3.52)),
        ("videolq", "Real-ESRGAN", (_NO, _NO, _NO, _NO, 0.7310, 7.58)),
        ("videolq", "RealBasicVSR", (_NO, _NO, _NO, _NO, 0.7388, 5.97)),
        ("videolq", "Upscale-A-Video", (_NO, _NO, _NO, _NO, 0.7370, 13.47)),
        ("videolq", "MGLD-VSR", (_NO, _NO, _NO, _NO, 0.7421, 6.79)),
        ("videolq", "VEnhancer", (_NO, _NO, _NO, _NO, 0.6912, 6.50)),
        ("videolq", "STAR", (_NO, _NO, _NO, _NO, 0.7080, 5.96)),
        ("videolq", "DOVE", (_NO, _NO, _NO, _NO, 0.7435, 5.85)),
    ),
)
DGAF = Source(
    name="dgaf-vsr",
    title="DGAF-VSR, its repository's table, bicubic x4",
    caveat="measured by its authors with the protocol of StableVSR",
    metrics=("PSNR", "SSIM", "LPIPS", "DISTS", "MUSIQ", "CLIP-IQA", "NIQE", "tLPIPS", "tOF"),
    rows=(
        ("reds4", "DGAF-VSR", (28.17, 0.804, 0.095, 0.043, 67.9, 0.429, 2.66, 3.92, 2.714)),
        ("vid4", "DGAF-VSR", (24.75, _NO, 0.175, _NO, _NO, _NO, _NO, _NO, _NO)),
    ),
)
SOURCES = (STAR, STABLEVSR, DOVE, DGAF)
