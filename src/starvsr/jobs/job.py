"""A prepared job as data: what is read, what is written, by which model and plan. Does nothing by itself."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from starvsr.engine.chunk_plan import ChunkPlan
from starvsr.engine.traits import Traits
from starvsr.engine.upscaler import JobSettings, Upscaler
from starvsr.families.options import UpscaleOptions
from starvsr.jobs.folder import JobFolder, job_path
from starvsr.jobs.prompts.prompt import Prompt

if TYPE_CHECKING:
    from starvsr.video import VideoInfo


@dataclass(frozen=True)
class Job:
    """A job whose input, output, model and plan have been checked.

    Args:
        info: The input.
        out: The output as the user named it: a file, a folder, or a numbered pattern.
        options: What the user asked for, completed by what the model was loaded with.
        upscaler: The loaded model.
        settings: What this job asks of the model.
        traits: Of the model with these settings.
        plan: Segments and tiles.
        width: Width of the output in pixels.
        height: Height of the output in pixels.
        num_frames: Frames to upscale as far as the container tells; None when it does not.
        encoding: How the output is encoded, in words; begins with the encoder's name.
        prompt: What the video shows, where that was found in a file or given by a command; the options hold its text.
    """

    info: VideoInfo
    out: Path
    options: UpscaleOptions
    upscaler: Upscaler
    settings: JobSettings
    traits: Traits
    plan: ChunkPlan
    width: int
    height: int
    num_frames: int | None
    encoding: str
    prompt: Prompt | None = None

    @property
    def folder(self) -> JobFolder:
        """Where finished parts are kept until the output is whole."""
        return JobFolder(job_path(self.out))

    @property
    def scale(self) -> float:
        """How many times larger the output is, rounded where a size was asked for."""
        return self.options.scale if self.options.target is None else round(self.height / self.info.height, 4)

    @property
    def num_steps(self) -> int:
        """Sampling steps."""
        return self.settings.num_steps

    @property
    def device(self) -> str:
        """Where the network computes."""
        return self.upscaler.device
