"""Photos of every kind that Pillow writes, with the profiles and the data that photos carry."""

from __future__ import annotations

import struct
from functools import cache

import numpy as np
from PIL import Image, ImageCms

WIDTH, HEIGHT = 60, 40


def picture(width: int = WIDTH, height: int = HEIGHT) -> np.ndarray:
    """uint8 [H, W, 3]: ramps in all directions."""
    y, x = np.mgrid[:height, :width]
    return np.stack([x * 4, y * 6, (x + y) * 2], -1).astype(np.uint8)


def images(width: int = WIDTH, height: int = HEIGHT) -> dict[str, Image.Image]:
    """One image of each mode that photos have, transparency included."""
    y, x = np.mgrid[:height, :width]
    color, gray, alpha = (
        Image.fromarray(picture(width, height)),
        Image.fromarray((x * 4).astype(np.uint8)),
        (y * 6).astype(np.uint8),
    )
    veil = Image.fromarray(alpha)
    keyed, pale = color.quantize(32), gray.copy()
    keyed.info["transparency"], pale.info["transparency"] = 3, 40
    return {
        "1": gray.convert("1"),
        "L": gray,
        "LA": Image.merge("LA", (gray, veil)),
        "P": color.quantize(64),
        "P, one colour clear": keyed,
        "L, one level clear": pale,
        "RGB": color,
        "RGBA": Image.merge("RGBA", (*color.split(), veil)),
        "CMYK": color.convert("CMYK"),
        "YCbCr": color.convert("YCbCr"),
        "LAB": ImageCms.applyTransform(color, rgb_to_lab()),
        "I;16": Image.fromarray((x * 60000 // width).astype(np.uint16)),
        "I": Image.fromarray((x * 60000 // width).astype(np.int32)),
        "F": Image.fromarray((x / width).astype(np.float32)),
    }


def rgb_to_lab() -> ImageCms.ImageCmsTransform:
    return ImageCms.buildTransform(ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), "RGB", "LAB")


@cache  # LittleCMS stamps profiles with the time
def profile_of(red_x: float = 0.5151) -> bytes:
    """An RGB profile with primaries that are not those of sRGB."""
    data = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    for index in range(struct.unpack(">I", data[128:132])[0]):
        name, start, _ = struct.unpack(">4sII", data[132 + 12 * index : 144 + 12 * index])
        if name == b"rXYZ":
            data[start + 8 : start + 20] = struct.pack(">3i", int(red_x * 65536), 15800, 70)
    return bytes(data)


def gray_profile() -> bytes:
    """A gray profile of gamma 1.8, built by hand: kTRC, the white of D50, a text."""
    tags = {
        b"desc": b"desc\0\0\0\0" + struct.pack(">I", 6) + b"gray!\0" + bytes(78),
        b"wtpt": b"XYZ \0\0\0\0" + struct.pack(">3i", 63190, 65536, 54061),
        b"kTRC": b"curv\0\0\0\0" + struct.pack(">IH", 1, int(1.8 * 256)) + bytes(2),
    }
    head = struct.pack(">I4sI4s4s4s", 0, b"lcms", 0x02400000, b"mntr", b"GRAY", b"XYZ ") + bytes(12) + b"acsp"
    head = (head + bytes(28) + struct.pack(">3i", 63190, 65536, 54061)).ljust(128, b"\0")
    table, body, start = b"", b"", 132 + 12 * len(tags)
    for name, content in tags.items():
        table += struct.pack(">4sII", name, start + len(body), len(content))
        body += content + bytes(-len(content) % 4)
    whole = head + struct.pack(">I", len(tags)) + table + body
    return struct.pack(">I", len(whole)) + whole[4:]


KINDS = [
    *[("png", mode) for mode in ("1", "L", "LA", "P", "RGB", "RGBA", "I;16", "P, one colour clear")],
    *[("png", mode) for mode in ("L, one level clear",)],
    *[("jpg", mode) for mode in ("1", "L", "RGB", "CMYK", "YCbCr")],
    *[("webp", mode) for mode in ("L", "LA", "P", "RGB", "RGBA", "CMYK", "P, one colour clear")],
    *[("tif", mode) for mode in ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "LAB", "I;16", "I", "F")],
    *[("bmp", mode) for mode in ("1", "L", "P", "RGB")],
    *[("avif", mode) for mode in ("L", "LA", "RGB", "RGBA")],
    *[("jp2", mode) for mode in ("L", "LA", "RGB", "RGBA", "YCbCr", "I;16")],
    *[("tga", mode) for mode in ("1", "L", "LA", "P", "RGB", "RGBA")],
    *[("ppm", mode) for mode in ("1", "L", "RGB", "I;16")],
    *[("gif", mode) for mode in ("L", "P", "RGB", "RGBA", "P, one colour clear")],
    *[("dds", mode) for mode in ("L", "LA", "RGB", "RGBA")],
]
