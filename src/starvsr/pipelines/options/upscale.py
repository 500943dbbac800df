"""What a user may ask of an upscaling job: one frozen dataclass, from which flags and web fields are made.

Each field of `UpscaleOptions` carries an `OptionInfo` in its metadata (help, group, unit, choices, range). The
command line, the web page and the provenance record are generated from it, so a new option is added here
alone. Loads no torch: the command line reads this file to print its help.
"""

# ruff: noqa: RUF009 - `_option` makes a `dataclasses.field`

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, Literal

from starvsr.errors import OptionError
from starvsr.pipelines.quantities import format_size, parse_interval, parse_size, parse_time
from starvsr.video.limits import DEFAULT_LIMITS, Limits, plain

Kind = Literal["flag", "int", "float", "text", "time", "size", "rate", "interval"]


@dataclass(frozen=True)
class OptionInfo:
    """How one option is shown and checked.

    Args:
        help: One sentence for people.
        group: Heading under which it is listed.
        kind: Type of the value; ``time`` becomes a Fraction of seconds, ``size`` a number of bytes, ``rate``
            a Fraction of frames per second, ``interval`` stays text as 300:700.
        unit: Unit of the number, if any.
        choices: The words that are allowed; for numbers, words allowed beside the number (as "auto").
        minimum: Smallest number allowed.
        maximum: Largest number allowed.
        model: True when only some models honour it; the others refuse it.
    """

    help: str
    group: str
    kind: Kind
    unit: str | None = None
    choices: tuple[str, ...] = ()
    minimum: float | None = None
    maximum: float | None = None
    model: bool = False

    def check(self, name: str, value: object) -> Any:
        """Return the value in its final type, or raise OptionError that names the option."""
        try:
            return _CHECKS[self.kind](self, value)
        except ValueError as error:
            raise OptionError(f"{flag_name(name)} is {value!r}: {error}") from None

    def check_range(self, number: Any) -> Any:
        """Return the number, or raise ValueError when it lies outside the range."""
        unit = f" {self.unit}" if self.unit else ""
        if self.minimum is not None and number < self.minimum:
            raise ValueError(f"give at least {self.minimum:g}{unit}")
        if self.maximum is not None and number > self.maximum:
            raise ValueError(f"give at most {self.maximum:g}{unit}")
        return number

    def wanted(self) -> str:
        """Say which values are right, for messages."""
        numbers = {"int": "a whole number", "float": "a number"}.get(self.kind)
        words = ", ".join(self.choices)
        return " or ".join(part for part in (numbers, words) if part)


def _check_flag(info: OptionInfo, value: object) -> bool:
    if not isinstance(value, bool):
        raise ValueError("give True or False")
    return value


def _check_number(info: OptionInfo, value: object) -> int | float | str:
    if isinstance(value, str) and value in info.choices:
        return value
    if isinstance(value, bool):
        raise ValueError(f"give {info.wanted()}")
    try:
        number = float(value)  # type: ignore[arg-type]
        if info.kind == "int":
            if number != int(number):
                raise ValueError
            return int(info.check_range(int(value)))  # type: ignore[call-overload]
    except (TypeError, ValueError, OverflowError) as error:
        if str(error).startswith("give "):
            raise
        raise ValueError(f"give {info.wanted()}") from None
    if number != number or abs(number) == float("inf"):
        raise ValueError(f"give {info.wanted()}")
    return float(info.check_range(number))


def _check_text(info: OptionInfo, value: object) -> str:
    if not isinstance(value, str):
        raise ValueError("give text")
    if info.choices and value not in info.choices:
        raise ValueError(f"give one of {', '.join(info.choices)}")
    return value


def _check_time(info: OptionInfo, value: object) -> Fraction:
    return Fraction(info.check_range(parse_time(value)))


def _check_size(info: OptionInfo, value: object) -> int | str:
    if isinstance(value, str) and value in info.choices:
        return value
    return int(info.check_range(parse_size(value)))


def _check_rate(info: OptionInfo, value: object) -> Fraction:
    try:
        rate = Fraction(str(value))
    except (ValueError, ZeroDivisionError):
        raise ValueError("give frames per second, as 25, 23.976 or 24000/1001") from None
    return Fraction(info.check_range(rate))


def _check_interval(info: OptionInfo, value: object) -> str:
    low, high = (info.check_range(number) for number in parse_interval(value))
    return f"{low}:{high}"


_CHECKS: dict[str, Callable[[OptionInfo, object], Any]] = {
    "flag": _check_flag,
    "int": _check_number,
    "float": _check_number,
    "text": _check_text,
    "time": _check_time,
    "size": _check_size,
    "rate": _check_rate,
    "interval": _check_interval,
}


def _option(default: Any, help: str, group: str, kind: Kind, **details: Any) -> Any:
    return field(default=default, metadata={"option": OptionInfo(help, group, kind, **details)})


MODEL, SPEED, RELEASED = "Model", "Speed of models that sample", "As the released STAR code does it"
PICTURE, RANGE = "Picture", "Input"
CUTS, FILE, RUN, LIMITS = "Memory and cuts", "Output", "Run", "Inputs that are not trusted"


def _released_option(help: str, default: str) -> Any:
    """One choice between ours and the released STAR code's (pipelines/exact.py)."""
    return _option(None, help, RELEASED, "text", choices=(default, "released"), model=True)


def _limit(name: str, help: str, kind: Kind, unit: str | None = None) -> Any:
    """One of `starvsr.video.limits.Limits`."""
    default = plain(getattr(DEFAULT_LIMITS, name))
    shown = format_size(int(default)).replace(" ", "") if kind == "size" else default
    return _option(None, f"{help} (default: {shown}).", LIMITS, kind, unit=unit, minimum=1)


@dataclass(frozen=True)
class UpscaleOptions:
    """Everything a user may ask of an upscaling job.

    None means: the model's, the file's or the encoder's own default.

    Raises:
        OptionError: a value has a wrong type or lies outside its range, or two values contradict each other.
    """

    model: str = _option("star-small", "Model to use; `starvsr models list` shows them.", MODEL, "text")
    scale: float = _option(
        4.0,
        "How many times larger. Below the model's own 4, its result is reduced with an antialiased filter.",
        MODEL,
        "float",
        minimum=1,
        maximum=4,
    )
    weights: str | None = _option(
        None, "File of weights to use in place of the model's own.", MODEL, "text", model=True
    )
    steps: int | None = _option(
        None, "Sampling steps (default: the model's own).", MODEL, "int", minimum=1, maximum=1000, model=True
    )
    seed: int | None = _option(
        None,
        "Seed of the noise (default: 0). Same seed, same bytes.",
        MODEL,
        "int",
        minimum=0,
        maximum=2**63 - 1,
        model=True,
    )
    prompt: str | None = _option(None, "What the video shows, for models that read text.", MODEL, "text", model=True)
    window: int | None = _option(
        None, "Frames that the network sees at once.", MODEL, "int", unit="frames", minimum=1, model=True
    )
    precision: str | None = _option(
        None,
        "Number type of the network (default: the model's own); int8 keeps its weights in 8 bits.",
        MODEL,
        "text",
        choices=("auto", "fp32", "bf16", "fp16", "int8"),
        model=True,
    )
    negative_prompt: str | None = _option(
        None, "What the result must not look like, for models that read text.", MODEL, "text", model=True
    )
    guidance: float | None = _option(
        None,
        "Weight of the prompt against the negative prompt (default: the model's own); 1 saves half the work.",
        MODEL,
        "float",
        minimum=1,
        maximum=50,
        model=True,
    )
    step_list: str | None = _option(
        None,
        "Where the sampling steps lie: fast (14 steps, the default for 14) or normal (evenly, any number).",
        MODEL,
        "text",
        choices=("fast", "normal"),
        model=True,
    )
    guidance_interval: str | None = _option(
        None,
        "Guide only at these timesteps, as 300:700 (default: at all): half the work at the others. Costs quality.",
        SPEED,
        "interval",
        minimum=0,
        maximum=999,
        model=True,
    )
    feature_cache: int | None = _option(
        None,
        "Compute the coarse levels of the network only every so many steps (default: 1, every step). Costs quality.",
        SPEED,
        "int",
        unit="steps",
        minimum=1,
        maximum=1000,
        model=True,
    )
    guidance_pair: str | None = _option(
        None,
        "Ask for both prompts in one call (together: less work, more memory) or in two (default: apart).",
        SPEED,
        "text",
        choices=("apart", "together"),
        model=True,
    )
    attention: str | None = _option(
        None,
        "Kernel of the network's attention (default: auto, which leaves it to torch).",
        SPEED,
        "text",
        choices=("auto", "flash", "efficient", "math", "cudnn"),
        model=True,
    )
    compile: str | None = _option(
        None,
        "Compile the network's blocks in the first step, in this mode of torch.compile (default: do not).",
        SPEED,
        "text",
        choices=("default", "reduce-overhead", "max-autotune"),
        model=True,
    )
    color: str | None = _option(
        None,
        "Transfer of the input's colours onto the result (default: the model's own).",
        PICTURE,
        "text",
        choices=("none", "adain", "wavelet"),
    )
    exact: bool = _option(
        False,
        "Make the released STAR code's choices in all of the following, on the whole clip in one piece.",
        RELEASED,
        "flag",
        model=True,
    )
    padding: str | None = _released_option(
        "Border around the frames: the least there must be, or up to 1280x720.", "minimal"
    )
    window_join: str | None = _released_option("Time windows: blended over a quarter, or cut hard.", "blend")
    decode_groups: str | None = _released_option("Decoding: overlapping groups of 8 frames, or 3 at a time.", "overlap")
    prompt_join: str | None = _released_option("Prompt: set off by a comma and kept whole, or run together.", "fit")
    rounding: str | None = _released_option(
        "To whole levels: rounded, or cut off (and colours matched by adain).", "nearest"
    )
    noise: str | None = _released_option(
        "Noise: the same for every cut and device, or as the script draws it.", "frames"
    )
    deinterlace: str = _option(
        "auto",
        "Deinterlace the input: when it says that it is interlaced (auto), always or never.",
        PICTURE,
        "text",
        choices=("auto", "on", "off"),
    )
    start: Fraction | None = _option(None, "Begin here: seconds or h:mm:ss.", RANGE, "time", unit="s")
    duration: Fraction | None = _option(None, "Length to upscale: seconds or h:mm:ss.", RANGE, "time", unit="s")
    on_corrupt: str = _option(
        "error",
        "On a damaged frame or a cut-off file: stop, leave the frame out, or show the one before in its place.",
        RANGE,
        "text",
        choices=("error", "skip", "conceal"),
    )
    frame_rate: Fraction | None = _option(
        None,
        "Frame rate of images and raw streams, which carry none (default: 24).",
        RANGE,
        "rate",
        unit="frames/s",
        minimum=0.001,
        maximum=1000,
    )
    segment: int | str = _option(
        "auto",
        "Frames held in memory and upscaled together.",
        CUTS,
        "int",
        unit="frames",
        choices=("auto",),
        minimum=1,
        maximum=10_000,
    )
    overlap: int | None = _option(
        None,
        "Frames of context that the network sees before and after each segment (default: the model's own).",
        CUTS,
        "int",
        unit="frames",
        minimum=0,
        maximum=1000,
    )
    crossfade: int | None = _option(
        None,
        "Frames over which neighbouring segments are blended into each other; at most twice the overlap (default: the "
        "model's own).",
        CUTS,
        "int",
        unit="frames",
        minimum=0,
        maximum=2000,
    )
    scene_cuts: bool = _option(True, "Never let a segment reach across a scene cut.", CUTS, "flag")
    tile: int | str = _option(
        "auto",
        "Side of the square tiles the input is cut into, in input pixels; `off` for whole frames.",
        CUTS,
        "int",
        unit="px",
        choices=("auto", "off"),
        minimum=16,
        maximum=65_536,
    )
    tile_overlap: int | None = _option(
        None,
        "Input pixels over which neighbouring tiles are blended (default: the model's own).",
        CUTS,
        "int",
        unit="px",
        minimum=0,
        maximum=1024,
    )
    memory: int | str = _option(
        "auto",
        "Memory to stay below, as 800MB or 12GB (of the GPU where one computes); chooses segments and tiles.",
        CUTS,
        "size",
        choices=("auto",),
        minimum=1,
    )
    codec: str | None = _option(
        None, "Video encoder: h264, hevc, av1, vp9, prores, ffv1, or FFmpeg's name of one (h264_nvenc).", FILE, "text"
    )
    crf: int | None = _option(
        None, "Quality of the encoder: lower is better and larger.", FILE, "int", minimum=0, maximum=63
    )
    preset: str | None = _option(None, "Speed of the encoder, in its own words.", FILE, "text")
    pixel_format: str | None = _option(None, "Pixel format of the output, as yuv420p10le.", FILE, "text")
    alpha: str = _option(
        "keep",
        "Transparency of the input: keep it (refused where the output cannot hold it), or show it on black.",
        FILE,
        "text",
        choices=("keep", "drop"),
    )
    missing_streams: str = _option(
        "note",
        "Sound or subtitles that the output's container cannot hold: leave them out and say so, or refuse.",
        FILE,
        "text",
        choices=("note", "error"),
    )
    compare: bool = _option(
        False, "Also write OUT_compare.png and OUT_compare.mp4: bicubic beside the result.", FILE, "flag"
    )
    overwrite: bool = _option(False, "Replace an output that is already there.", FILE, "flag")
    restart: bool = _option(
        False, "Begin anew where an interrupted job has left finished parts, rather than go on with it.", FILE, "flag"
    )
    device: str = _option("auto", "Where to compute: auto, cpu, cuda, cuda:1, mps, ...", RUN, "text")
    threads: int | None = _option(
        None, "Processor threads for the network (default: all cores).", RUN, "int", minimum=1, maximum=1024
    )
    on_error: str = _option(
        "stop",
        "With several inputs, when one fails: stop, or skip it and go on.",
        RUN,
        "text",
        choices=("stop", "skip"),
    )
    isolate: bool = _option(
        False, "Decode in a process of its own, which may crash or hang without harm.", LIMITS, "flag"
    )
    max_pixels: int | None = _limit("max_pixels", "Refuse pictures of more pixels", "int")
    max_frames: int | None = _limit("max_frames", "Refuse videos of more frames", "int")
    max_duration: Fraction | None = _limit("max_duration", "Refuse videos that last longer, in seconds", "time")
    max_streams: int | None = _limit("max_streams", "Refuse files of more streams", "int")
    max_metadata: int | None = _limit("max_metadata", "Refuse files with more in their tags", "size")
    max_attachments: int | None = _limit("max_attachments", "Refuse files with larger attachments", "size")
    max_stall: Fraction | None = _limit("max_stall", "Give up after so many seconds without a frame", "time")
    decoder_memory: int | None = _limit("decoder_memory", "With --isolate: memory of the decoder", "size")

    def __post_init__(self) -> None:
        """Check every value and bring it to its final type."""
        for name, info in option_infos():
            value = getattr(self, name)
            if value is not None:
                object.__setattr__(self, name, info.check(name, value))
            elif not _may_be_none(name):
                raise OptionError(f"{flag_name(name)} is None: leave it out for the default")
        if self.duration is not None and self.duration == 0:
            raise OptionError("--duration is 0: give the seconds to upscale, or leave it out for all of them")
        if self.color is not None and (self.rounding or ("released" if self.exact else "")) == "released":
            raise OptionError(
                "--color has no use here, since the released rounding matches colours by adain: leave it out, or add "
                "--rounding nearest"
            )
        if self.overlap is not None and self.crossfade is not None and self.crossfade > 2 * self.overlap:
            raise OptionError(
                f"--crossfade {self.crossfade} needs frames that both segments see: "
                f"give --overlap {-(-self.crossfade // 2)} or more"
            )
        if self.tile_overlap is None:
            return
        if self.tile == "off":
            raise OptionError("--tile-overlap has no meaning with --tile off: leave one of them out")
        if isinstance(self.tile, int) and 2 * self.tile_overlap >= self.tile:
            raise OptionError(
                f"--tile-overlap {self.tile_overlap} leaves nothing of a tile of {self.tile} px: "
                f"give less than {-(-self.tile // 2)}"
            )

    @property
    def limits(self) -> Limits:
        """What the input may ask for."""
        given = {f.name: getattr(self, f.name) for f in dataclasses.fields(Limits)}
        return Limits(**{name: value for name, value in given.items() if value is not None})

    def changed(self) -> dict[str, Any]:
        """Return the options that differ from their defaults, by name."""
        defaults = {f.name: f.default for f in dataclasses.fields(self)}
        return {name: value for name, value in self.as_dict().items() if value != defaults[name]}

    def as_dict(self) -> dict[str, Any]:
        """Return every option by name, in the order of the fields."""
        return {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}

    def as_flags(self) -> list[str]:
        """Return the command-line words that give these options (defaults left out)."""
        words: list[str] = []
        for name, value in self.changed().items():
            flag = flag_name(name)
            if isinstance(value, bool):
                words.append(flag if value else flag.replace("--", "--no-", 1))
            else:
                words += [flag, _as_word(value)]
        return words


def option_infos() -> Iterator[tuple[str, OptionInfo]]:
    """Yield the name and the description of each option, in the order of the fields."""
    for f in dataclasses.fields(UpscaleOptions):
        yield f.name, f.metadata["option"]


def default_of(name: str) -> Any:
    """Return an option's default."""
    return next(f.default for f in dataclasses.fields(UpscaleOptions) if f.name == name)


def flag_name(name: str) -> str:
    """Return the command-line flag of an option: ``tile_overlap`` -> ``--tile-overlap``."""
    return "--" + name.replace("_", "-")


def options_from(values: dict[str, Any]) -> UpscaleOptions:
    """Build options from names and values; an unknown name is refused with the nearest known one."""
    import difflib

    known = [name for name, _ in option_infos()]
    for name in values:
        if name not in known:
            near = difflib.get_close_matches(name, known, 1)
            hint = f"did you mean {near[0]}?" if near else f"known options: {', '.join(known)}"
            raise OptionError(f"there is no option {name!r}: {hint}")
    return UpscaleOptions(**values)


def _may_be_none(name: str) -> bool:
    return default_of(name) is None


def _as_word(value: object) -> str:
    if isinstance(value, float) and value == int(value):
        return str(int(value))
    return str(value)
