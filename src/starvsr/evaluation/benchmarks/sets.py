"""The data sets of the field: how many clips they have, and in which folders they come.

Sources: the evaluation copies that DOVE's repository describes (``GT``, ``LQ``, ``GT-Video``, ``LQ-Video``), the
data notes of mmagic and BasicVSR (``GT``, ``BIx4``, ``BDx4``), REDS as its authors publish it.
"""

from __future__ import annotations

from dataclasses import dataclass

from starvsr.errors import OptionError

_GT = ("GT", "GT-Video", "HR", "gt_videos")
_LQ = ("LQ", "LQ-Video", "LR")
_CLASSIC = ("BIx4", "BDx4")


@dataclass(frozen=True)
class BenchmarkSet:
    """A data set.

    Attributes:
        name: What the command line calls it.
        title: What tables call it.
        about: One line.
        gt: Folders that may hold the ground truth, the first one found is taken; "." is the data folder itself.
            Empty for sets without ground truth.
        lq: Folders that may hold the low-quality clips; the first one found is taken unless another is asked for.
        more_lq: Folders of other low-quality versions, taken when they are asked for.
        inside: Names of the folders of ground truth and input inside the folder of each clip, for sets that come so.
        num_clips: Clips of the whole set; None where any number will do.
        num_frames: Frames of every clip; None where they differ or are not known.
        clip_names: Alternatives for the names of the clips, where a folder also holds others.
        degradation: How low-quality clips are made where the folder holds none; see `inputs.DEGRADATIONS`.
        takes_list: Whether a list of clips (CSV or text) may stand for the folder.
    """

    name: str
    title: str
    about: str
    gt: tuple[str, ...] = _GT
    lq: tuple[str, ...] = _LQ
    more_lq: tuple[str, ...] = ()
    inside: tuple[str, str] | None = None
    num_clips: int | None = None
    num_frames: int | None = None
    clip_names: tuple[tuple[str, ...], ...] = ()
    degradation: str = "heavy"
    takes_list: bool = False

    @property
    def has_gt(self) -> bool:
        """Whether the set has a ground truth."""
        return bool(self.gt)

    def expected(self) -> str:
        """Say in words what the folder must hold."""
        count = f"{self.num_clips} clips" if self.num_clips else "clips"
        frames = f" of {self.num_frames} frames" if self.num_frames else ""
        if not self.has_gt:
            return f"{count}{frames} in {_or(self.lq)}"
        inside = f", or CLIP/{self.inside[0]} and CLIP/{self.inside[1]}" if self.inside else ""
        made = f"low-quality versions in {_or((*self.lq, *self.more_lq))}"
        made += f", or none (they are made: {self.degradation})" if self.degradation else ""
        return f"{count}{frames} in {_or(self.gt)}{inside}; {made}; a clip is a folder of images or a video"


def _or(folders: tuple[str, ...]) -> str:
    names = ["the folder itself" if name == "." else f"{name}/" for name in folders]
    return " or ".join((", ".join(names[:-1]), names[-1])) if len(names) > 1 else names[0]


def _numbers(first: int, count: int) -> tuple[str, ...]:
    return tuple(f"{number:03d}" for number in range(first, first + count))


_SETS = (
    BenchmarkSet(
        "udm10", "UDM10", "10 clips of 32 frames, 720p", more_lq=_CLASSIC, gt=(*_GT, "."), num_clips=10, num_frames=32
    ),
    BenchmarkSet(
        "reds30",
        "REDS30",
        "the 30 validation clips of REDS, 100 frames, 720p",
        gt=(*_GT, "val_sharp", "val/val_sharp", "train_sharp", "train/train_sharp", "."),
        lq=_LQ,
        more_lq=("val_sharp_bicubic/X4", "val/val_sharp_bicubic/X4", "train_sharp_bicubic/X4"),
        num_clips=30,
        num_frames=100,
        clip_names=(_numbers(0, 30), _numbers(240, 30)),
    ),
    BenchmarkSet(
        "reds4",
        "REDS4",
        "clips 000, 011, 015 and 020 of REDS, 100 frames, 720p; its input is bicubic",
        gt=(*_GT, "train_sharp", "train/train_sharp", "."),
        lq=(
            "sharp_bicubic",
            "bicubic",
            "train_sharp_bicubic/X4",
            "train/train_sharp_bicubic/X4",
            "train_sharp_bicubic",
            *_LQ,
        ),
        num_clips=4,
        num_frames=100,
        clip_names=(("000", "011", "015", "020"),),
        degradation="bicubic",
    ),
    BenchmarkSet(
        "spmcs", "SPMCS", "30 clips of 31 frames, 540p", more_lq=_CLASSIC, inside=("truth", "input4"), num_clips=30
    ),
    BenchmarkSet("youhq40", "YouHQ40", "40 clips, 1080p", num_clips=40),
    BenchmarkSet(
        "openvid30", "OpenVid30", "30 clips; a folder or a list", gt=(*_GT, "."), num_clips=30, takes_list=True
    ),
    BenchmarkSet(
        "videolq", "VideoLQ", "50 real videos, no ground truth", gt=(), lq=(*_LQ, "."), num_clips=50, degradation=""
    ),
    BenchmarkSet("mvsr4x", "MVSR4x", "15 captured pairs of two focal lengths", num_clips=15, degradation=""),
    BenchmarkSet(
        "realvsr",
        "RealVSR",
        "50 captured pairs, both of one size",
        gt=("GT_test", *_GT),
        lq=("LQ_test", *_LQ),
        num_clips=50,
        degradation="",
    ),
    BenchmarkSet(
        "vid4",
        "Vid4",
        "calendar, city, foliage and walk; its input is bicubic",
        lq=("BIx4", "bicubic", *_LQ),
        more_lq=("BDx4",),
        num_clips=4,
        clip_names=(("calendar", "city", "foliage", "walk"),),
        degradation="bicubic",
    ),
    BenchmarkSet("aigc30", "AIGC30", "30 generated videos, no ground truth", gt=(), lq=(*_LQ, "."), num_clips=30),
    BenchmarkSet("custom", "custom", "clips of your own: a folder or a list", gt=(*_GT, "HQ", "."), takes_list=True),
)
BENCHMARKS = {one.name: one for one in _SETS}
"""The data sets by the names that the command line takes."""


def get_set(name: str) -> BenchmarkSet:
    """Return a data set by its name; capitals, blanks and hyphens make no difference.

    Raises:
        OptionError: there is no such set.
    """
    import difflib

    plain = "".join(char for char in name.lower() if char.isalnum())
    if plain in BENCHMARKS:
        return BENCHMARKS[plain]
    near = difflib.get_close_matches(plain, BENCHMARKS, 1)
    hint = f"did you mean {near[0]}? " if near else ""
    raise OptionError(f"unknown benchmark {name!r}: {hint}known are {', '.join(BENCHMARKS)}")
