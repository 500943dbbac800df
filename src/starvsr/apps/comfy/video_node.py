"""The node that upscales a video file."""

from __future__ import annotations

import io as bytes_io
import shutil
import tempfile
from pathlib import Path
from typing import Any

from comfy_api.latest import InputImpl, io, ui

from starvsr.apps.comfy import host
from starvsr.apps.comfy.chosen_options import job_options
from starvsr.apps.comfy.schemas import MODEL, job_inputs, schema
from starvsr.apps.comfy.video_file import CODECS, FORMATS, times, upscale_file
from starvsr.engine.upscaler import Upscaler
from starvsr.video import probe


class UpscaleVideo(io.ComfyNode):
    """Upscales a video file into the output folder."""

    @classmethod
    def define_schema(cls) -> Any:
        """Describe the node."""
        return schema(
            node_id="StarVSRUpscaleVideo",
            display_name="Upscale Video (StarVSR)",
            description="Upscales a video file of any length in constant memory and saves it: sound, subtitles, "
            "timestamps and colours are kept. When it was stopped, the same again goes on where it was.",
            search_aliases=["upscale video", "video super resolution", "enlarge video", "restore video"],
            inputs=[
                MODEL.Input("starvsr_model"),
                io.Video.Input(
                    "video", tooltip="Best from Load Video. A video made of images is encoded once more on its way."
                ),
                io.String.Input(
                    "filename_prefix",
                    default="video/StarVSR",
                    tooltip="Where it is saved below the output folder, as in Save Video.",
                ),
                io.Combo.Input(
                    "format", options=list(FORMATS), default="auto", tooltip="Container; auto: the input's, or mp4."
                ),
                io.Combo.Input(
                    "codec", options=list(CODECS), default="auto", tooltip="Encoder; auto: what suits the container."
                ),
                io.Int.Input(
                    "crf",
                    default=-1,
                    min=-1,
                    max=63,
                    tooltip="Quality of the encoder: lower is better and larger; -1: the encoder's own.",
                ),
                *job_inputs(),
            ],
            outputs=[io.Video.Output(display_name="video", tooltip="The saved video.")],
            is_output_node=True,
        )

    @classmethod
    def execute(
        cls,
        starvsr_model: Upscaler,
        video: Any,
        filename_prefix: str,
        format: str,
        codec: str,
        crf: int,
        scale: float,
        detail: float,
        steps: int,
        seed: int,
        prompt: str = "",
        options: str = "",
    ) -> Any:
        """Upscale the file."""
        values = job_options(scale=scale, detail=detail, steps=steps, seed=seed, prompt=prompt, more=options)
        if codec != "auto":
            values["codec"] = codec
        if crf >= 0:
            values["crf"] = crf
        if hasattr(video, "get_active_trim_window"):
            values |= times(*video.get_active_trim_window())
        with tempfile.TemporaryDirectory(dir=host.temp_folder(), prefix="starvsr_") as scratch:
            source = _file_of(video, Path(scratch))
            info = probe(source)
            folder, name, subfolder = host.output_place(filename_prefix, info.width, info.height)
            suffix = _suffix(format, source)
            with host.interruptions() as cancel, host.whole_device(starvsr_model.device):
                result = upscale_file(
                    source,
                    folder,
                    name,
                    suffix,
                    starvsr_model,
                    values,
                    cancel=cancel,
                    on_progress=host.progress_bar(),
                )
        host.tell(result.notes)
        saved = ui.SavedResult(result.output.name, subfolder, io.FolderType.output)
        return io.NodeOutput(InputImpl.VideoFromFile(str(result.output)), ui=ui.PreviewVideo([saved]))


def _file_of(video: Any, scratch: Path) -> Path:
    """Return the file of a video, written into ``scratch`` where it lies in memory."""
    source = video.get_stream_source()
    if not isinstance(source, bytes_io.BytesIO):
        return Path(source)
    path = scratch / "input.mp4"
    with path.open("wb") as file:
        shutil.copyfileobj(source, file)
    return path


def _suffix(chosen: str, source: Path) -> str:
    if chosen != "auto":
        return f".{chosen}"
    return source.suffix.lower() if source.suffix.lower()[1:] in FORMATS[1:] else ".mp4"
