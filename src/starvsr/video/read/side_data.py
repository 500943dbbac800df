"""What rides beside the samples of a frame: how it is turned, its colours, HDR10 data, and what cannot be kept.

PyAV (seen in 17 and 18) owns the metadata of what it lists beside a frame, which FFmpeg owns too: both free it, and the
process dies. FFmpeg's only decoder whose side data have metadata is that of PNG (the name of the colour profile), so
pictures that it decoded are not asked; `photo_data` reads the file instead.
"""

from __future__ import annotations

import re
import struct
import warnings
from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path
from typing import Any

from starvsr.video.info import FULL, ColorTags, MasteringDisplay

Turn = tuple[int, int, int, int]
"""(a, b, c, d): the stored pixel (x, y) is shown at (a x + c y, b x + d y)."""

IDENTITY: Turn = (1, 0, 0, 1)
_BT470BG = 5  # the matrix of JPEG and TIFF
# FFmpeg counts counter-clockwise
_BY_ROTATION = {0: (1, 0, 0, 1), -90: (0, 1, -1, 0), 90: (0, -1, 1, 0), 180: (-1, 0, 0, -1), -180: (-1, 0, 0, -1)}
LOST_SIDE_DATA = {
    "A53_CC": "closed captions",
    "AFD": "active format descriptions",
    "AMBIENT_VIEWING_ENVIRONMENT": "the ambient viewing environment (HDR)",
    "DETECTION_BBOXES": "boxes around detected things",
    "DOVI_METADATA": "Dolby Vision data",
    "DOVI_RPU_BUFFER": "Dolby Vision data",
    "DYNAMIC_HDR_PLUS": "HDR10+ data",
    "DYNAMIC_HDR_SMPTE_2094_APP5": "HDR data by SMPTE ST 2094-50",
    "DYNAMIC_HDR_VIVID": "HDR Vivid data",
    "FILM_GRAIN_PARAMS": "film grain parameters",
    "LCEVC": "an LCEVC enhancement layer",
    "S12M_TIMECODE": "SMPTE timecodes",
    "SEI_UNREGISTERED": "user data (SEI)",
    "SPHERICAL": "the projection of 360-degree video",
    "STEREO3D": "the layout of stereo 3D",
    "THREE_D_REFERENCE_DISPLAYS": "reference displays of 3D video",
    "VIEW_ID": "the second view of 3D video",
}
KEPT_SIDE_DATA = frozenset(
    {"DISPLAYMATRIX", "MASTERING_DISPLAY_METADATA", "CONTENT_LIGHT_LEVEL", "ICC_PROFILE", "EXIF"}
)
"""Applied, written anew, or spoken of where photos are."""
SILENT_SIDE_DATA = frozenset(
    {
        # nothing that a viewer would miss: a decoder's own reports, an encoder's hints
        *("MOTION_VECTORS", "VIDEO_ENC_PARAMS", "REGIONS_OF_INTEREST", "VIDEO_HINT"),
        # in every MPEG-2 stream, where players pass over them
        *("PANSCAN", "GOP_TIMECODE"),
        # of sound
        *("MATRIXENCODING", "DOWNMIX_INFO", "REPLAYGAIN", "SKIP_SAMPLES", "AUDIO_SERVICE_TYPE"),
    }
)
"""Lost without a note, knowingly."""
# kinds that PyAV has no name for; it then lists none at all, and its error tells the number
_UNLISTED = {
    28: "LCEVC",
    29: "VIEW_ID",
    30: "THREE_D_REFERENCE_DISPLAYS",
    31: "EXIF",
    32: "DYNAMIC_HDR_SMPTE_2094_APP5",
}
UNSAFE_DECODERS = frozenset({"png", "apng", "lscr"})
"""PyAV frees what it lists of their frames' side data a second time."""
# x264 and x265 sign their streams with these
_SIGNATURES = tuple(
    bytes.fromhex(uuid) for uuid in ("dc45e9bde6d948b7962cd820d923eeef", "2ca2de09b51747dbbb55a4fe7fc2fc4e")
)
_ORIENTATION = 0x0112
_TURNS: dict[int, Turn] = {
    1: (1, 0, 0, 1),
    2: (-1, 0, 0, 1),
    3: (-1, 0, 0, -1),
    4: (1, 0, 0, -1),
    5: (0, 1, 1, 0),
    6: (0, 1, -1, 0),
    7: (0, -1, -1, 0),
    8: (0, -1, 1, 0),
}
_MASTERING_KIND, _LIGHT_KIND = "MASTERING_DISPLAY_METADATA", "CONTENT_LIGHT_LEVEL"
_MASTERING = struct.Struct("<22i")
_BRIGHTEST = Fraction(2**32 - 1, 10_000)  # what the 32 bits of H.264 and H.265 hold
_FARTHEST = Fraction(2**16 - 1, 50_000)


def orientation(frame: Any, path: Path, decoder: str) -> Turn | None:
    """Read how a frame of a file is turned for display; None for turns that are no multiple of 90 degrees.

    Args:
        frame: A decoded frame.
        path: Its file.
        decoder: FFmpeg's name of what decoded it.
    """
    found, _ = _side_data(frame, decoder)
    if found is None:
        return exif_turn(path) or _BY_ROTATION.get(round(frame.rotation))
    for data in found:
        if data.type.name == "DISPLAYMATRIX":
            a, b, _, c, d, *_ = struct.unpack("<9i", bytes(data)[:36])
            unit = tuple(round(value / 65536) for value in (a, b, c, d))
            exact = all(abs(value / 65536 - whole) < 0.01 for value, whole in zip((a, b, c, d), unit, strict=True))
            is_turn = abs(unit[0] * unit[3] - unit[1] * unit[2]) == 1 and all(abs(v) <= 1 for v in unit)
            return unit if exact and is_turn else None
    return IDENTITY


def exif_turn(path: Path) -> Turn | None:
    """Read how a photo is turned and mirrored (EXIF tag 0x0112); None where Pillow finds nothing."""
    from PIL import Image

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            with Image.open(path) as image:
                return _TURNS.get(int(image.getexif().get(_ORIENTATION, 0)))
        except (OSError, ValueError, SyntaxError, TypeError, KeyError, IndexError, RuntimeError, struct.error):
            return None
        except Image.DecompressionBombError:
            return None


def side_notes(path: Path, frame: Any, decoder: str) -> list[str]:
    """Name what rides inside the pictures and is lost when they are coded anew."""
    listed, unlisted = _side_data(frame, decoder)
    found = {data.type.name: data for data in listed or () if not _is_signature(data)}
    lost = _lost([*found, *([unlisted] if unlisted else [])])
    notes = [f"{words} inside the pictures cannot be kept" for words in lost]
    if _MASTERING_KIND in found:
        _, senseless = _mastering(bytes(found[_MASTERING_KIND]))
        notes += [
            f"{what} of the mastering display (HDR10) are no possible ones and are left out" for what in senseless
        ]
    if _LIGHT_KIND in found and _light(bytes(found[_LIGHT_KIND])) is None:
        notes.append("light levels (HDR10) are no possible ones and are left out")
    return [f"{path.name}: {note}" for note in notes]


def color_tags(frame: Any, context: Any) -> ColorTags:
    """Read the colour tags of a frame, decoded by ``context``, HDR10 side data included."""
    mastering, light = None, None
    listed, _ = _side_data(frame, context.name)
    for data in listed or ():
        if data.type.name == _MASTERING_KIND:
            mastering, _ = _mastering(bytes(data))
        elif data.type.name == _LIGHT_KIND:
            light = _light(bytes(data))
    matrix, range_ = int(frame.colorspace), int(frame.color_range)
    if frame.format.name.startswith("yuvj"):
        range_ = FULL
    elif context.name == "tiff" and frame.format.name.startswith("yuv"):  # the format's own default, untagged
        matrix, range_ = _BT470BG, FULL
    return ColorTags(
        matrix=matrix,
        range=range_,
        primaries=int(getattr(frame, "color_primaries", context.color_primaries)),
        transfer=int(getattr(frame, "color_trc", context.color_trc)),
        mastering=mastering,
        content_light=light,
    )


def profile_beside(frame: Any, decoder: str) -> bytes | None:
    """Give the ICC profile that the container or the codec laid beside a frame."""
    listed, _ = _side_data(frame, decoder)
    return next((bytes(data) for data in listed or () if data.type.name == "ICC_PROFILE"), None)


def _side_data(frame: Any, decoder: str) -> tuple[list[Any] | None, str | None]:
    """List a frame's side data.

    Returns:
        The list, None where it cannot be had; and the name of a kind that PyAV does not know and therefore refuses all.
    """
    if decoder in UNSAFE_DECODERS:
        return None, None
    try:
        found = frame.side_data
        return [found[index] for index in range(len(found))], None
    except ValueError as error:
        number = re.match(r"(\d+) ", str(error))
        return None, _UNLISTED.get(int(number.group(1))) if number else None


def _is_signature(data: Any) -> bool:
    return data.type.name == "SEI_UNREGISTERED" and bytes(data)[:16] in _SIGNATURES


def _lost(kinds: Iterable[str]) -> list[str]:
    return sorted({LOST_SIDE_DATA[kind] for kind in kinds if kind in LOST_SIDE_DATA})


def _mastering(data: bytes) -> tuple[MasteringDisplay | None, list[str]]:
    """Parse FFmpeg's AVMasteringDisplayMetadata: ten rationals, and two flags that say which of them are valid.

    The flags are not asked: H.264 and H.265 say 0 for what they do not tell, and what FFmpeg doubts is the file's own.

    Returns:
        What is told, None for nothing; and words for parts that those codecs have no bits for, taken for not told.
    """
    values = _MASTERING.unpack(data[: _MASTERING.size])
    parts = [Fraction(values[i], values[i + 1]) if values[i + 1] else Fraction(0) for i in range(0, 20, 2)]
    points, lights, senseless = parts[:8], parts[8:], []
    if not all(0 <= value <= _FARTHEST for value in points):
        points = [Fraction(0)] * 8
        senseless.append("the colours")
    if not all(0 <= value <= _BRIGHTEST for value in lights):
        lights = [Fraction(0)] * 2
        senseless.append("the luminances")
    if not any((*points, *lights)):
        return None, senseless
    red, green, blue, white = zip(points[::2], points[1::2], strict=True)
    return MasteringDisplay(red, green, blue, white, *lights), senseless


def _light(data: bytes) -> tuple[int, int] | None:
    brightest, mean = struct.unpack("<2I", data[:8])
    return (brightest, mean) if max(brightest, mean) < 1 << 16 else None
