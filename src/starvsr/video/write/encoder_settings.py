"""What encoders are told beyond size, format and quality: threads, lookahead, HDR10 data, profiles."""

from __future__ import annotations

from fractions import Fraction

from starvsr.video.info import ColorTags, MasteringDisplay

_LOOKAHEAD_BYTES = 100 * 2**20
# a fixed number of threads: encoders cut frames by thread count, or write it into the stream (x265), and equal input
# must give equal bytes anywhere
_THREADS = 4
_FREE_THREADS = ("prores_ks", "ffv1")  # their bytes do not depend on it


def keeps_hdr10(codec: str) -> bool:
    """Whether an encoder is told the mastering display and the light levels of HDR10."""
    return codec in ("libx264", "libx265", "libsvtav1")


def special_settings(
    codec: str, pixel_format: str, area: int, color: ColorTags, alpha: bool, threads: int | None = None
) -> dict[str, str]:
    """Return the settings of an encoder that follow from the picture, its colours and the threads allowed.

    Args:
        codec: FFmpeg's name of the encoder.
        pixel_format: What is encoded.
        area: Pixels of a frame.
        color: What its colours mean.
        alpha: Whether it has transparency.
        threads: Most threads, for encoders whose bytes do not depend on their number.
    """
    settings = _picture_settings(codec, pixel_format, area, color, alpha)
    return settings | ({"threads": str(threads)} if threads and codec in _FREE_THREADS else {})


def _picture_settings(codec: str, pixel_format: str, area: int, color: ColorTags, alpha: bool) -> dict[str, str]:
    if codec == "libx264":
        # frames it looks ahead over are kept in memory, with what belongs to them about 5 bytes a pixel
        lookahead = max(5, min(40, _LOOKAHEAD_BYTES // (5 * area)))
        # without the last one, its code for AVX gives other bytes from run to run (seen in build 165)
        params = ":".join(["cpu-independent=1", *_x264_params(color)])
        return {"rc-lookahead": str(lookahead), "threads": str(_THREADS), "x264-params": params}
    if codec == "libx265":
        return {"x265-params": ":".join(_x265_params(area, color))}
    if codec == "libsvtav1":
        return {"svtav1-params": ":".join(_svt_params(color))}
    if codec == "libvpx-vp9":
        return {"deadline": "good", "b": "0", "row-mt": "1", "threads": str(_THREADS)} | (
            {"auto-alt-ref": "0"} if alpha else {}
        )
    if codec == "prores_ks":
        profile = "4444" if "444" in pixel_format else "hq"
        return {"profile": profile, "vendor": "apl0"} | ({"alpha_bits": "16"} if alpha else {})
    if codec in ("mpeg4", "mpeg2video"):  # no pictures out of order: AVI has no times for them
        return {"bf": "0", "mbd": "rd", "g": "25", "threads": str(_THREADS)}
    if codec == "ffv1":
        return {"level": "3", "slicecrc": "1", "g": "1"}  # it knows which numbers of slices fit a size
    return {}


def _x264_params(color: ColorTags) -> list[str]:
    params = []
    if color.mastering is not None:
        params.append(f"mastering-display={_mastering_text(color.mastering, 50_000, 10_000, whole=True)}")
    if color.content_light is not None:
        params.append(f"cll={color.content_light[0]},{color.content_light[1]}")
    return params


def _x265_params(area: int, color: ColorTags) -> list[str]:
    params = ["log-level=none", "frame-threads=2", f"pools={_THREADS}"]
    if area > 4096 * 2304:
        params.append("rc-lookahead=10")
    if color.is_hdr:
        params.append("repeat-headers=1")
    if color.mastering is not None:
        params.append(f"master-display={_mastering_text(color.mastering, 50_000, 10_000, whole=True)}")
    if color.content_light is not None:
        params += ["hdr10=1", f"max-cll={color.content_light[0]},{color.content_light[1]}"]
    else:
        params.append("cll=0")  # it would write levels of 0
    return params


def _svt_params(color: ColorTags) -> list[str]:
    params = [f"lp={_THREADS}"]
    if color.mastering is not None and color.mastering.is_whole:  # AV1 has no word for what is not told
        params.append(f"mastering-display={_mastering_text(color.mastering, 1, 1, whole=False)}")
    if color.content_light is not None:
        params.append(f"content-light={color.content_light[0]},{color.content_light[1]}")
    return params


def _mastering_text(display: MasteringDisplay, xy: int, light: int, *, whole: bool) -> str:
    def number(value: Fraction, unit: int) -> str:
        return str(round(value * unit)) if whole else f"{float(value * unit):.6f}"

    points = zip("GBR", (display.green, display.blue, display.red), strict=True)
    parts = [f"{name}({number(x, xy)},{number(y, xy)})" for name, (x, y) in points]
    parts.append(f"WP({number(display.white[0], xy)},{number(display.white[1], xy)})")
    parts.append(f"L({number(display.max_luminance, light)},{number(display.min_luminance, light)})")
    return "".join(parts)
