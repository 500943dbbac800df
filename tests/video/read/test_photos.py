"""Photos as Pillow sees them: modes, depths, levels, profiles, camera data, transparency. Inputs are Pillow's."""

from __future__ import annotations

import io
import struct
import subprocess
import sys
import zlib
from fractions import Fraction
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import pytest
from PIL import Image, ImageCms

import starvsr
from starvsr.errors import StarVsrError, UnreadableInputError
from starvsr.video import EncodeOptions, VideoReader, VideoWriter, probe
from starvsr.video.read.icc import gray_as_rgb, is_srgb, space_of
from starvsr.video.untrusted.isolation.parent import probe_isolated
from starvsr.video.untrusted.limits import DEFAULT_LIMITS
from tests.video.frames import read
from tests.video.photos import HEIGHT, KINDS, WIDTH, gray_profile, images, picture, profile_of

FFMPEG = imageio_ffmpeg.get_ffmpeg_exe()
SCALER = "bicubic+accurate_rnd+full_chroma_int"
EXACT, ROUNDED = 0, 3  # of 255


@pytest.mark.parametrize(("suffix", "mode"), KINDS)
def test_photos_are_seen_as_pillow_sees_them(tmp_path: Path, suffix: str, mode: str) -> None:
    image, path = images()[mode], tmp_path / f"a.{suffix}"
    quality = {"jpg": {"quality": 100, "subsampling": 0}, "webp": {"lossless": True}}.get(suffix, {})
    quality |= {"quality": 100, "subsampling": "4:4:4"} if suffix == "avif" else {}
    clear = {"transparency": image.info["transparency"]} if "transparency" in image.info else {}
    image.save(path, **quality, **clear)
    (seen,) = read(path)
    with Image.open(path) as again:
        if again.mode in ("I;16", "I"):
            wanted, seen = np.asarray(again).astype(int), seen[..., 0]
        elif again.mode == "F":
            wanted, seen = np.rint(np.asarray(again).astype(float) * 65535).astype(int), seen[..., 0]
        elif again.mode == "LAB":
            wanted = picture()
        elif mode == "YCbCr":  # which Pillow before 13 writes into TIFF and cannot read there
            wanted = np.asarray(image.convert("RGB"))
        else:
            has_alpha = np.asarray(again.convert("RGBA"))[..., 3].min() < 255
            wanted = np.asarray(again.convert("RGBA" if has_alpha else "RGB"))
    assert seen.shape == wanted.shape
    difference = np.abs(seen.astype(int) - wanted.astype(int))
    if mode == "LAB":  # whose 8 bits hold saturated colours coarsely
        assert difference.mean() < 3
        return
    if difference.ndim == 3 and difference.shape[2] == 4:
        difference[seen[..., 3] == 0] = 0  # colours that nobody sees
    assert difference.max() <= (ROUNDED if suffix in ("jpg", "avif") or mode in ("CMYK", "YCbCr") else EXACT)


@pytest.mark.parametrize(
    ("codec", "container", "pixel_format"),
    [
        *[("ffv1", "mkv", name) for name in ("gray", "gray10le", "gray12le", "gray16le", "ya8", "gbrp", "gbrap10le")],
        *[("libx264", "mkv", name) for name in ("gray", "gray10le", "yuv420p", "yuvj420p")],
        *[("mjpeg", "avi", "yuvj444p"), ("png", "mov", "gray"), ("png", "mov", "ya8"), ("png", "mov", "monob")],
        *[("magicyuv", "avi", "gray"), ("jpeg2000", "mov", "gray"), ("jpeg2000", "mov", "ya16le")],
        *[("rawvideo", "nut", name) for name in ("gray", "gray14le", "ya8", "pal8", "monow", "xyz12le", "x2rgb10le")],
        *[("rawvideo", "nut", "gbrpf32le"), ("tiff", "mkv", "gray16le"), ("sgi", "mov", "gray16be")],
        *[("qtrle", "mov", "gray"), ("targa", "mov", "gray"), ("huffyuv", "avi", "yuv422p"), ("gif", "gif", "pal8")],
    ],
)
def test_levels_are_those_of_ffmpegs_program(tmp_path: Path, codec: str, container: str, pixel_format: str) -> None:
    path, raw = tmp_path / f"a.{container}", tmp_path / "a.rgb"
    raw.write_bytes(picture().tobytes())
    given = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{WIDTH}x{HEIGHT}", "-r", "25", "-i", str(raw)]
    made = ["-c:v", codec, "-pix_fmt", pixel_format, "-strict", "-2", str(path)]
    subprocess.run([FFMPEG, "-v", "error", *given, *made], check=True)
    (seen,) = read(path)
    wide = "48le" if seen.dtype == np.uint16 else "24"
    done = ["-v", "error", "-i", str(path), "-frames:v", "1", "-f", "rawvideo", "-sws_flags", SCALER]
    out = subprocess.run([FFMPEG, *done, "-pix_fmt", f"rgb{wide}", "-"], check=True, capture_output=True).stdout
    wanted = np.frombuffer(out, seen.dtype).reshape(HEIGHT, WIDTH, 3)
    unit = 255 if seen.dtype == np.uint8 else 65535
    assert np.abs(seen[..., :3].astype(float) - wanted).mean() / unit < 1.6 / 255


def test_gray_is_written_as_it_is_read(tmp_path: Path) -> None:
    frame = np.repeat(picture()[..., :1], 3, -1)
    options = EncodeOptions(codec="ffv1", pixel_format="gray")
    with VideoWriter(tmp_path / "a.mkv", source=None, width=WIDTH, height=HEIGHT, options=options) as writer:
        writer.write(frame, 0, 1)
    assert np.array_equal(read(tmp_path / "a.mkv")[0], frame)


# ---- profiles and camera data

SAVE = {"jpg": {"quality": 95}, "png": {}, "webp": {"lossless": True}, "tif": {}, "avif": {}}


def camera_data() -> bytes:
    exif = Image.Exif()
    exif[0x010F], exif[0x8298], exif[0x0112] = "Maker", "somebody", 6
    exif.get_ifd(0x8769)[0x829A] = 0.01
    return exif.tobytes()


@pytest.mark.parametrize("suffix", list(SAVE))
def test_profile_and_camera_data_are_carried_into_images(tmp_path: Path, suffix: str) -> None:
    source = tmp_path / f"a.{suffix}"
    Image.fromarray(picture()).save(source, icc_profile=profile_of(), exif=camera_data(), **SAVE[suffix])
    for out in ("o.png", "o.jpg", "o.webp", "o.tif", "o.avif", "o.apng"):
        result = starvsr.upscale(source, tmp_path / out, model="bicubic", scale=1, threads=1)
        with Image.open(tmp_path / out) as image:
            assert image.size == (HEIGHT, WIDTH), out  # upright
            assert image.info["icc_profile"] == profile_of(), out
            exif = image.getexif()
            assert (exif[0x010F], exif[0x8298], exif.get_ifd(0x8769)[0x829A]) == ("Maker", "somebody", 0.01), out
            assert exif.get(0x0112, 1) == 1, out
        assert not [note for note in result.notes if "profile" in note or "EXIF" in note]


@pytest.mark.parametrize("out", ["o.mp4", "o.gif"])
def test_what_an_output_does_not_keep_is_named(tmp_path: Path, out: str) -> None:
    source = tmp_path / "a.png"
    Image.fromarray(picture()).save(source, icc_profile=profile_of(), exif=camera_data())
    notes = " ".join(starvsr.upscale(source, tmp_path / out, model="bicubic", scale=1, threads=1).notes)
    assert "colour profile" in notes and "EXIF" in notes
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    Image.fromarray(picture()).save(source, icc_profile=srgb)
    notes = " ".join(starvsr.upscale(source, tmp_path / f"2{out}", model="bicubic", scale=1, threads=1).notes)
    assert "profile" not in notes


def test_resolution_is_kept(tmp_path: Path) -> None:
    Image.fromarray(picture()).save(tmp_path / "a.jpg", dpi=(300, 300))
    for out in ("o.png", "o.jpg", "o.tif"):
        starvsr.upscale(tmp_path / "a.jpg", tmp_path / out, model="bicubic", scale=1, threads=1)
        with Image.open(tmp_path / out) as image:
            assert image.info["dpi"] == pytest.approx((300, 300), abs=0.01), out


def test_gray_profile_becomes_one_of_rgb_with_its_tone_curve(tmp_path: Path) -> None:
    gray = Image.fromarray(picture()[..., 0])
    gray.save(tmp_path / "a.jpg", icc_profile=gray_profile(), quality=100)
    starvsr.upscale(tmp_path / "a.jpg", tmp_path / "o.png", model="bicubic", scale=1, threads=1)
    with Image.open(tmp_path / "o.png") as image:
        kept = image.info["icc_profile"]
        assert (image.mode, space_of(kept)) == ("RGB", "RGB")
    assert kept == gray_as_rgb(gray_profile())
    srgb = ImageCms.createProfile("sRGB")
    before, after = (ImageCms.ImageCmsProfile(io.BytesIO(data)) for data in (gray_profile(), kept))
    seen = [
        np.asarray(ImageCms.profileToProfile(image, profile, srgb, outputMode="RGB")).astype(int)
        for image, profile in ((gray, before), (gray.convert("RGB"), after))
    ]
    assert np.abs(seen[0] - seen[1]).max() <= 1
    assert np.abs(seen[1] - np.asarray(gray.convert("RGB"))).max() > 5  # the curve does something


def test_a_profile_that_is_broken_is_carried_but_never_taken_for_srgb() -> None:
    assert not is_srgb(profile_of()) and is_srgb(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    assert not is_srgb(b"nonsense") and not is_srgb(profile_of()[:200]) and gray_as_rgb(gray_profile()[:140]) is None


def test_profiles_travel_through_isolation(tmp_path: Path) -> None:
    Image.fromarray(picture()).save(tmp_path / "a.png", icc_profile=profile_of(), exif=camera_data(), dpi=(72, 72))
    info = probe(tmp_path / "a.png")
    assert info.photo.profile == profile_of()
    assert probe_isolated(tmp_path / "a.png", frame_rate=None, limits=DEFAULT_LIMITS).photo == info.photo


def box(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", 8 + len(data)) + kind + data


def heic_of(video: Path, width: int, height: int, profile: bytes) -> bytes:
    """Lay the first frame of an MP4 (H.265, one frame) out as an HEIC file with a colour profile."""
    data = video.read_bytes()
    at = data.index(b"hvcC")
    decoder = data[at - 4 : at - 4 + struct.unpack(">I", data[at - 4 : at])[0]]
    at = data.index(b"mdat")
    coded = data[at + 4 : at - 4 + struct.unpack(">I", data[at - 4 : at])[0]]
    size = box(b"ispe", bytes(4) + struct.pack(">2I", width, height))
    properties = box(b"ipco", decoder + size + box(b"colr", b"prof" + profile))
    owned = box(b"ipma", bytes(4) + struct.pack(">IHB", 1, 1, 3) + bytes((0x81, 2, 3)))
    item = box(b"infe", b"\2\0\0\0" + struct.pack(">2H", 1, 0) + b"hvc1\0")

    def meta(place: int) -> bytes:
        return box(
            b"meta",
            bytes(4)
            + box(b"hdlr", bytes(8) + b"pict" + bytes(13))
            + box(b"pitm", bytes(4) + struct.pack(">H", 1))
            + box(b"iloc", bytes(4) + b"\x44\0" + struct.pack(">4H2I", 1, 1, 0, 1, place, len(coded)))
            + box(b"iinf", bytes(4) + struct.pack(">H", 1) + item)
            + box(b"iprp", properties + owned),
        )

    head = box(b"ftyp", b"heic" + bytes(4) + b"mif1heic")
    return head + meta(len(head) + len(meta(0)) + 8) + box(b"mdat", coded)


def test_profiles_of_heic_and_jpeg_2000_are_carried(tmp_path: Path) -> None:
    """Pillow writes neither, so the boxes are laid by hand."""
    video, heic, jp2 = tmp_path / "a.mp4", tmp_path / "a.heic", tmp_path / "a.jp2"
    source = ["-f", "lavfi", "-i", "testsrc2=s=64x66:r=25", "-frames:v", "1", "-c:v", "libx265"]
    coding = ["-x265-params", "lossless=1:log-level=none", "-pix_fmt", "yuv444p", "-tag:v", "hvc1"]
    subprocess.run([FFMPEG, "-v", "error", *source, *coding, video], check=True)
    heic.write_bytes(heic_of(video, 64, 66, profile_of()))
    Image.fromarray(picture()).save(jp2)
    data = jp2.read_bytes()
    at = data.index(b"jp2h") - 4
    end = at + struct.unpack(">I", data[at : at + 4])[0]
    colour = data.index(b"colr") - 4
    old = data[colour : colour + struct.unpack(">I", data[colour : colour + 4])[0]]
    header = data[at + 8 : end].replace(old, box(b"colr", b"\2\0\0" + profile_of()))
    jp2.write_bytes(data[:at] + box(b"jp2h", header) + data[end:])
    for path in (heic, jp2):
        assert probe(path).photo.profile == profile_of(), path
        for out in ("o.png", "o.avif"):
            result = starvsr.upscale(path, tmp_path / out, model="bicubic", scale=1, threads=1, overwrite=True)
            with Image.open(tmp_path / out) as image:
                assert image.info["icc_profile"] == profile_of(), (path, out)
            assert not [note for note in result.notes if "profile" in note]
    (seen,), (coded,) = read(heic), read(video)
    assert seen.shape == (66, 64, 3) and np.array_equal(seen, coded)


STRESS = """
import sys
from pathlib import Path
from starvsr.video import VideoReader, probe
for name in sys.argv[1:]:
    for _ in range(30):
        assert probe(Path(name)).photo.profile, name
    for _ in range(3):
        assert [frame.index for frame in VideoReader(Path(name))], name
print("alive")
"""


def test_no_kind_of_picture_with_a_profile_kills_the_process(tmp_path: Path) -> None:
    frames = [Image.fromarray(np.roll(picture(), 5 * shift, 1)) for shift in range(3)]
    words = {"icc_profile": profile_of(), "exif": camera_data()}
    names = []
    for suffix, settings in SAVE.items():
        names.append(tmp_path / f"still.{suffix}")
        frames[0].save(names[-1], **words, **settings)
    for suffix, kind in (("apng", "PNG"), ("webp", "WEBP")):
        names.append(tmp_path / f"moves.{suffix}")
        frames[0].save(names[-1], kind, save_all=True, append_images=frames[1:], duration=100, icc_profile=profile_of())
    (tmp_path / "folder").mkdir()
    for number, frame in enumerate(frames):
        frame.save(tmp_path / "folder" / f"{number}.png", **words)
    names.append(tmp_path / "folder")
    for still, video in (("png", "mkv"), ("png", "mov"), ("jpg", "avi"), ("jpg", "mov"), ("tif", "mkv")):
        names.append(tmp_path / f"{still}.{video}")
        given = ["-framerate", "5", "-loop", "1", "-i", str(tmp_path / f"still.{still}"), "-frames:v", "3"]
        subprocess.run([FFMPEG, "-v", "error", *given, "-c", "copy", str(names[-1])], check=True)
    done = subprocess.run([sys.executable, "-c", STRESS, *map(str, names)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "alive\n"), done.stderr[-2000:]


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def test_hdr_data_of_png_reach_the_video(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    Image.fromarray(picture()).save(buffer, "PNG")
    data = buffer.getvalue()
    mastering = struct.pack(">8H2I", 34000, 16000, 13250, 34500, 7500, 3000, 15635, 16450, 10_000_000, 50)
    extra = chunk(b"cICP", bytes((9, 16, 0, 1))) + chunk(b"mDCV", mastering)
    (tmp_path / "a.png").write_bytes(
        data[:33] + extra + chunk(b"cLLI", struct.pack(">2I", 10**7, 4 * 10**6)) + data[33:]
    )
    color = probe(tmp_path / "a.png").color
    assert (color.primaries, color.transfer, color.content_light) == (9, 16, (1000, 400))
    assert color.mastering is not None and color.mastering.max_luminance == 1000
    assert color.mastering.red == (Fraction(34000, 50000), Fraction(16000, 50000))
    starvsr.upscale(tmp_path / "a.png", tmp_path / "o.png", model="bicubic", scale=1, threads=1)
    assert b"cICP\x09\x10\x00\x01" in (tmp_path / "o.png").read_bytes()


# ---- transparency of AVIF


def veiled(count: int) -> list[Image.Image]:
    frame = np.dstack([picture(), np.linspace(0, 255, HEIGHT * WIDTH).reshape(HEIGHT, WIDTH).astype(np.uint8)])
    return [Image.fromarray(np.roll(frame, 9 * number, 1)) for number in range(count)]


def test_transparency_of_avif_is_kept(tmp_path: Path) -> None:
    still, moving = tmp_path / "a.avif", tmp_path / "b.avif"
    frames = veiled(4)
    frames[0].save(still, quality=95, subsampling="4:4:4")
    frames[0].save(moving, save_all=True, append_images=frames[1:], duration=[100, 50, 70, 80], quality=95)
    assert probe(still).has_alpha and probe(moving).has_alpha
    (seen,) = read(still)
    with Image.open(still) as image:
        assert np.abs(seen.astype(int) - np.asarray(image)).max() <= 3
    seen = read(moving)
    assert len(seen) == 4
    for pixels, frame in zip(seen, frames, strict=True):
        assert np.abs(pixels[..., 3].astype(int) - np.asarray(frame)[..., 3]).mean() < 3
    with VideoReader(moving, start=Fraction(1, 8)) as reader:  # from within: colours and transparency stay together
        (pixels, *_) = [frame.pixels for frame in reader]
    assert np.array_equal(pixels, seen[2])
    result = starvsr.upscale(moving, tmp_path / "o.mkv", model="bicubic", scale=1, threads=1)
    info = probe(tmp_path / "o.mkv")
    assert info.has_alpha and [stream.kind for stream in info.streams] == ["video"]
    assert not [note for note in result.notes if "second video" in note]


def test_tiles_that_nothing_joins_are_refused(tmp_path: Path) -> None:
    item = box(b"infe", b"\2\0\0\0" + struct.pack(">2H", 1, 0) + b"grid\0")
    meta = box(b"pitm", bytes(4) + struct.pack(">H", 1)) + box(b"iinf", bytes(4) + struct.pack(">H", 1) + item)
    path = tmp_path / "a.heic"
    path.write_bytes(box(b"ftyp", b"heic" + bytes(4) + b"mif1heic") + box(b"meta", bytes(4) + meta))
    with pytest.raises(UnreadableInputError, match="tiles"):
        probe(path)
    for size in range(8, path.stat().st_size, 7):
        (tmp_path / "cut.heic").write_bytes(path.read_bytes()[:size])
        with pytest.raises(StarVsrError):
            probe(tmp_path / "cut.heic")
