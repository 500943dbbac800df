"""The door for users: one call from a file to a file. Connects media, model and stream; prints nothing."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from starvsr.engine.chunk_plan import Cut, Sizes, plan_cut
from starvsr.engine.progress import CancelToken, ProgressCallback, UpscaleResult
from starvsr.engine.upscaler import ClipUpscaler, traits_of
from starvsr.families.loading import check_accepted, choose_device, load_for
from starvsr.jobs.inputs import expected_frames, look_at, open_reader, refuse_unused, rehearse_copying
from starvsr.jobs.outputs import check_encoding, check_enlargement, check_outputs, encode_options, size_of
from starvsr.options import LIMITS, UpscaleOptions, option_infos, options_from
from starvsr.processors import allowed_processors

if TYPE_CHECKING:
    from starvsr.jobs.folder import JobFolder
    from starvsr.jobs.photos import PhotosJob
    from starvsr.video import VideoInfo, VideoReader
    from starvsr.video.write.output_format import OutputFormat


def upscale(
    path: str | Path,
    out: str | Path,
    options: UpscaleOptions | None = None,
    *,
    upscaler: ClipUpscaler | None = None,
    on_progress: ProgressCallback | None = None,
    cancel: CancelToken | None = None,
    **values: Any,
) -> UpscaleResult:
    """Upscale a video, an image, a folder of images or a numbered pattern.

    Args:
        path: The input.
        out: The output: .mp4, .mov, .mkv, .webm, .gif, .webp or .apng, an image, a numbered pattern, or (no suffix)
            a folder of PNG files.
        options: All options; or give single ones by name: ``upscale(a, b, scale=2, seed=7)``.
        upscaler: A loaded model, to spare loading it again; None loads ``options.model``.
        on_progress: Called with `Progress`, often.
        cancel: Call its ``cancel()`` from another thread to stop; what is finished stays in the job folder.
        values: Options by name.

    Finished parts of the output are kept in ``OUT.job`` until it is whole. After an interruption, even a kill, the
    same call goes on with them, and the output is the same to the last byte.

    Returns:
        What was written, with timing, memory, notes and provenance.

    Raises:
        StarVsrError: what, why and what next, in one line; nothing is left under the output's name.
    """
    job = prepare_any(path, out, _merge(options, values), upscaler=upscaler)
    return job.run(on_progress=on_progress, cancel=cancel)


def _merge(options: UpscaleOptions | None, values: dict[str, Any]) -> UpscaleOptions:
    if options is None:
        return options_from(values)
    return options_from({**options.as_dict(), **values}) if values else options


@dataclass(frozen=True)
class UpscaleJob:
    """A job whose input, output, model and plan have been checked; nothing is written yet.

    Args:
        info: The input.
        out: The output.
        options: What the user asked for.
        upscaler: The model.
        cut: Segments and tiles.
        width: Width of the output.
        height: Height of the output.
        num_frames: Frames to do as far as the container tells; None when it does not.
        device: Where the network computes.
        encoding: How the output is encoded, in words; begins with the encoder's name.
    """

    info: VideoInfo
    out: Path
    options: UpscaleOptions
    upscaler: ClipUpscaler
    cut: Cut
    width: int
    height: int
    num_frames: int | None
    device: str
    encoding: str

    @property
    def folder(self) -> JobFolder:
        """Where finished parts are kept until the output is whole."""
        from starvsr.jobs.folder import JobFolder, job_path

        return JobFolder(job_path(self.out))

    @property
    def output_format(self) -> OutputFormat:
        """What the output is made of."""
        from starvsr.video.write.output_format import OutputFormat

        return OutputFormat.like(self.out, self.info, self.width, self.height, encode_options(self.options))

    def open_reader(self) -> VideoReader:
        """Open the input for the part and the way that the options name."""
        return open_reader(self.info, self.options)

    @property
    def scale(self) -> float:
        """How many times larger the output is, rounded where a size was asked for."""
        return self.options.scale if self.options.target is None else round(self.height / self.info.height, 4)

    @property
    def num_steps(self) -> int:
        """Sampling steps."""
        return self.options.steps or traits_of(self.upscaler).num_steps

    @property
    def provenance(self) -> dict[str, Any]:
        """What made the output: version, model, digest of its weights, options that differ from the defaults."""
        import starvsr

        options = {k: v if isinstance(v, (int, float)) else str(v) for k, v in self.options.changed().items()}
        # the digest names the weights, and the rest changes nothing
        limits = [name for name, info in option_infos() if info.group == LIMITS]
        for name in ("overwrite", "restart", "compare", "on_error", "threads", "model", "weights", *limits):
            options.pop(name, None)
        return {
            "software": f"starvsr {starvsr.__version__}",
            "model": self.upscaler.name,
            "weights_sha256": traits_of(self.upscaler).digest,
            "scale": self.scale,
            "steps": self.num_steps,
            "seed": self.options.seed or 0,
            "options": options,
        }

    @property
    def provenance_text(self) -> str:
        """The provenance as one line of JSON, for a tag of the output."""
        return json.dumps(self.provenance, separators=(",", ":"), ensure_ascii=False)

    def run(self, *, on_progress: ProgressCallback | None = None, cancel: CancelToken | None = None) -> UpscaleResult:
        """Do the job, or what an interrupted run left of it.

        Raises:
            StarVsrError: what, why and what next; nothing is left under the output's name.
        """
        from starvsr.jobs.run import run_job

        return run_job(self, on_progress, cancel or CancelToken())


def prepare(
    path: str | Path, out: str | Path, options: UpscaleOptions, *, upscaler: ClipUpscaler | None = None
) -> UpscaleJob:
    """Look at the input, check the output, load the model and make the plan. Writes nothing.

    A folder of images is taken for a film here; `prepare_any` also knows photos.

    Raises:
        StarVsrError: the input cannot be read, the output not be written, or an option not be honoured.
    """
    info = look_at(path, options)
    refuse_unused(info, options)
    if options.exact:
        from starvsr.families.star_i2vgen.reference import whole_clip

        options = whole_clip(options, expected_frames(info, options))
    out = Path(out)
    check_outputs(info, out, options)
    width, height = size_of(info, out, options)
    encoding = check_encoding(info, out, width, height, options)
    rehearse_copying(info, out, options)
    if upscaler is None:
        upscaler = load_for(options)
    else:
        check_accepted(upscaler, options)
    check_enlargement(info, options, upscaler.name, upscaler.scale)
    sizes = Sizes(
        info.height,
        info.width,
        upscaler.scale,
        height,
        width,
        sample_bytes=1 if info.bit_depth <= 8 else 2,
        channels=4 if info.has_alpha else 3,
    )
    num_frames = expected_frames(info, options)
    return UpscaleJob(
        info=info,
        out=out,
        options=options,
        upscaler=upscaler,
        cut=_cut_of(upscaler, sizes, options, num_frames, out),
        width=width,
        height=height,
        num_frames=num_frames,
        device=choose_device(options.device),
        encoding=encoding,
    )


def prepare_any(
    path: str | Path, out: str | Path, options: UpscaleOptions, *, upscaler: ClipUpscaler | None = None
) -> UpscaleJob | PhotosJob:
    """Do what `prepare` does, or the same for a folder of photos, each of which is enlarged by itself."""
    from starvsr.jobs.photos import are_photos, prepare_photos

    if are_photos(Path(path), Path(out), options):
        return prepare_photos(Path(path), Path(out), options, upscaler)
    return prepare(path, out, options, upscaler=upscaler)


def _cut_of(upscaler: ClipUpscaler, sizes: Sizes, options: UpscaleOptions, num_frames: int | None, out: Path) -> Cut:
    """Make the plan; a model that places its weights itself also makes that plan."""
    if not hasattr(upscaler, "plan_cut"):
        return plan_cut(sizes, traits_of(upscaler), options)
    from starvsr.jobs.folder import JobFolder, job_path
    from starvsr.jobs.manifest_file import read_cut

    before = None if options.restart else read_cut(JobFolder(job_path(out)))
    cut: Cut = upscaler.plan_cut(sizes, options, num_frames, before)
    return cut


@contextmanager
def processor_threads(count: int | None) -> Iterator[None]:
    """Let the network use this many processor threads inside the block; None: what torch and the system allow."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(count or min(before, allowed_processors()))
    try:
        yield
    finally:
        torch.set_num_threads(before)


__all__ = ["UpscaleJob", "prepare", "prepare_any", "processor_threads", "upscale"]
