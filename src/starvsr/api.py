"""The public entry points: `upscale` for one call, `prepare` and `UpscaleJob.run` for two. Prints nothing."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from starvsr.engine.chunk_plan import PlanInput, Sizes, whole_clip
from starvsr.engine.executor import Executor
from starvsr.engine.progress import CancelToken, ProgressCallback, UpscaleResult
from starvsr.engine.upscaler import Upscaler
from starvsr.families.job_settings import complete_options, job_settings
from starvsr.families.loading import load_for, load_upscaler
from starvsr.families.options import UpscaleOptions, options_from
from starvsr.jobs.executors import first_device, worker_devices
from starvsr.jobs.folder import JobFolder, job_path
from starvsr.jobs.inputs import expected_frames, probe_input, refuse_sizes, refuse_unused, rehearse_copying
from starvsr.jobs.job import Job
from starvsr.jobs.manifest_file import read_cut
from starvsr.jobs.outputs import check_encoding, check_enlargement, check_outputs, enlargement, size_of
from starvsr.jobs.prompts.request import Prompts, source_told

if TYPE_CHECKING:
    from starvsr.jobs.photos import PhotosJob
    from starvsr.jobs.prompts.prompt import Prompt
    from starvsr.video import VideoInfo


def upscale(
    path: str | Path,
    out: str | Path,
    options: UpscaleOptions | None = None,
    *,
    upscaler: Upscaler | None = None,
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
    job = prepare_any(path, out, options, upscaler=upscaler, **values)
    return job.run(on_progress=on_progress, cancel=cancel)


def _merge(options: UpscaleOptions | None, values: dict[str, Any]) -> UpscaleOptions:
    if options is None:
        return options_from(values)
    return options_from({**options.as_dict(), **values}) if values else options


class UpscaleJob(Job):
    """A job whose input, output, model and plan have been checked; nothing is written yet. Made by `prepare`."""

    def run(
        self,
        *,
        on_progress: ProgressCallback | None = None,
        cancel: CancelToken | None = None,
        executor: Executor | None = None,
    ) -> UpscaleResult:
        """Do the job, or what an interrupted run left of it.

        Args:
            on_progress: Called with `Progress`, often.
            cancel: Call its ``cancel()`` from another thread to stop; what is finished stays in the job folder.
            executor: Renders the segments, as `starvsr.engine.executor.Executor` describes, and stays open; None
                renders where the options say. The output does not depend on it.

        Raises:
            StarVsrError: what, why and what next; nothing is left under the output's name.
        """
        from starvsr.jobs.run import run_job

        return run_job(self, on_progress, cancel or CancelToken(), executor)


def prepare(
    path: str | Path,
    out: str | Path,
    options: UpscaleOptions | None = None,
    *,
    upscaler: Upscaler | None = None,
    prompts: Prompts | None = None,
    **values: Any,
) -> UpscaleJob:
    """Probe the input, check the output, load the model, make the plan. Writes nothing but the answer of ``caption``.

    For a model that reads text, the prompt is ``prompt``, what ``prompt_from`` names, ``NAME.txt`` beside the input, or
    what the command ``caption`` prints, in this order. That answer is kept in the job folder: the command is run once.

    Args:
        path: The input, as for `upscale`.
        out: The output, as for `upscale`.
        options: All options; or give single ones by name: ``prepare(a, b, scale=2)``.
        upscaler: A loaded model; None loads ``options.model``.
        prompts: Prompts that were found before, and whether a command may be run; None looks for them and may.
        values: Options by name.

    Returns:
        The job; its ``run()`` does it. A folder of images is one film here; `prepare_any` also knows photos.

    Raises:
        StarVsrError: the input cannot be read, the output not be written, or an option not be honoured.
    """
    options = _merge(options, values)
    info = probe_input(path, options)
    refuse_unused(info, options)
    refuse_sizes(info, options)
    out = Path(out)
    check_outputs(info, out, options)
    width, height = size_of(info, out, options)
    encoding = check_encoding(info, out, width, height, options)
    rehearse_copying(info, out, options)
    prompt = (prompts or Prompts()).for_job(Path(path), info, out, options, upscaler)
    if upscaler is None:  # after the command of a caption, which may need the device
        device = first_device(options) if options.devices else None
        with source_told(prompt):
            upscaler = load_for(options, device, first_prompt=None if prompt is None else prompt.text)
    if options.devices or options.processes:
        worker_devices(options, upscaler)
    return plan_job(info, out, (width, height), encoding, options, upscaler, prompt, values)


def plan_job(
    info: VideoInfo,
    out: Path,
    size: tuple[int, int],
    encoding: str,
    options: UpscaleOptions,
    upscaler: Upscaler,
    prompt: Prompt | None,
    values: dict[str, Any],
) -> UpscaleJob:
    """Plan a job whose input, output and model are known; `prepare` and pipes find these out.

    Args:
        info: The input.
        out: The output, or what messages call it.
        size: Width and height of the output in pixels.
        encoding: How it is encoded, in words.
        options: What the user asked for.
        upscaler: The loaded model.
        prompt: The prompt that was found for the input; None for none.
        values: Options that were given by name.

    Raises:
        OptionError: The model does not honour an option, or does not enlarge as much.
        ResourceError: There is not enough memory.
    """
    options = complete_options(upscaler, options if prompt is None else prompt.put_into(options), values)
    check_enlargement(info, options, upscaler.name, upscaler.traits_for({}).scales[-1])
    with source_told(prompt):
        settings, traits = job_settings(upscaler, options, enlargement(info, options))
    num_frames = expected_frames(info, options)
    if traits.lengths.whole:
        options = whole_clip(options, num_frames)
    width, height = size
    sizes = Sizes(
        info.height,
        info.width,
        settings.scale,
        height,
        width,
        sample_bytes=1 if info.bit_depth <= 8 else 2,
        channels=4 if info.has_alpha else 3,
    )
    before = None if options.restart else read_cut(JobFolder(job_path(out)))
    with source_told(prompt):
        plan = upscaler.plan(PlanInput(sizes, options, num_frames, before), settings)
    return UpscaleJob(
        info=info,
        out=out,
        options=options,
        upscaler=upscaler,
        settings=settings,
        traits=traits,
        plan=plan,
        width=width,
        height=height,
        num_frames=num_frames,
        encoding=encoding,
        prompt=prompt,
    )


def prepare_any(
    path: str | Path,
    out: str | Path,
    options: UpscaleOptions | None = None,
    *,
    upscaler: Upscaler | None = None,
    prompts: Prompts | None = None,
    **values: Any,
) -> UpscaleJob | PhotosJob:
    """Do what `prepare` does, or the same for a folder of photos, each of which is upscaled independently."""
    from starvsr.jobs.photo_choice import are_photos
    from starvsr.jobs.photos import prepare_photos

    merged = _merge(options, values)
    if are_photos(Path(path), Path(out), merged):
        named = {name: value for name, value in values.items() if name == "model"}  # must be that of the loaded one
        return prepare_photos(Path(path), Path(out), merged, partial(prepare, **named), upscaler, prompts or Prompts())
    return prepare(path, out, options, upscaler=upscaler, prompts=prompts, **values)


load_pipeline = load_upscaler
"""The old name of `load_upscaler`; kept for one release."""

__all__ = ["UpscaleJob", "load_pipeline", "load_upscaler", "prepare", "prepare_any", "upscale"]
