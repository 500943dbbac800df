"""The nodes as ComfyUI sees them: sockets, widgets, tooltips (V3 schema)."""

from __future__ import annotations

import dataclasses
import io as bytes_io
import shutil
import tempfile
from pathlib import Path
from typing import Any

import torch
from comfy_api.latest import ComfyExtension, InputImpl, io, ui

from starvsr.apps.comfy import host
from starvsr.apps.comfy.chosen_options import HELP, job_options
from starvsr.apps.comfy.comparing import LAYOUTS, compare_images
from starvsr.apps.comfy.frames import upscale_images
from starvsr.apps.comfy.video_file import CODECS, FORMATS, times, upscale_file
from starvsr.engine.upscaler import Upscaler
from starvsr.families.available import available_models
from starvsr.families.loading import load_for
from starvsr.families.options import options_from
from starvsr.families.registry import MODELS
from starvsr.video import probe

CATEGORY = "StarVSR"
MODEL = io.Custom("STARVSR_MODEL")
BATCHES = ("frames of a video", "single images")


def _schema(**fields: Any) -> Any:
    """Return a schema; what older versions of ComfyUI do not know of it is left out."""
    known = {field.name for field in dataclasses.fields(io.Schema)}
    return io.Schema(category=CATEGORY, **{name: value for name, value in fields.items() if name in known})


def _job_inputs() -> list[Any]:
    """Return the widgets that both upscaling nodes have."""
    return [
        io.Float.Input(
            "scale",
            default=4.0,
            min=1.0,
            max=4.0,
            step=0.25,
            tooltip="How many times larger. Below 4 the model's result is reduced with an antialiased filter.",
        ),
        io.Float.Input(
            "detail",
            default=1.0,
            min=0.0,
            max=1.0,
            step=0.05,
            tooltip="How far the result goes from a plain enlargement (0) towards the model's own (1).",
        ),
        io.Int.Input("steps", default=0, min=0, max=1000, tooltip="Sampling steps; 0: the model's own number."),
        io.Int.Input(
            "seed",
            default=0,
            min=0,
            max=2**53 - 1,  # the largest whole number that a browser keeps
            control_after_generate=True,
            tooltip="Seed of the noise. Models of one step draw none.",
        ),
        io.String.Input(
            "prompt",
            default="",
            multiline=True,
            optional=True,
            tooltip="What the video shows, for models that read text (star-light, star-heavy, star-cogvideox-5b, -2b).",
        ),
        io.String.Input("options", default="", multiline=True, optional=True, tooltip=HELP),
    ]


class LoadModel(io.ComfyNode):
    """Loads a model once for all nodes that use it."""

    @classmethod
    def define_schema(cls) -> Any:
        """Describe the node."""
        here = available_models()
        names = [*here, *(name for name in MODELS if name not in here)]
        return _schema(
            node_id="StarVSRLoadModel",
            display_name="Load StarVSR Model",
            description="Loads a video super-resolution model. Those that are on this machine come first; others are "
            "fetched with `starvsr models fetch NAME`, or need weights.",
            search_aliases=["video upscale model", "super resolution model", "STAR", "StableVSR"],
            inputs=[
                io.Combo.Input("model", options=names, default="star-small", tooltip="See `starvsr models list`."),
                io.Combo.Input(
                    "weights",
                    options=[host.NO_WEIGHTS, *host.weights_names()],
                    default=host.NO_WEIGHTS,
                    tooltip="Other weights of this model: a file or model folder in models/starvsr.",
                ),
                io.Combo.Input(
                    "precision",
                    options=["auto", "fp32", "fp16", "bf16"],
                    default="auto",
                    tooltip="Number type of the network; auto is fast and safe on the device.",
                ),
                io.String.Input("options", default="", multiline=True, optional=True, tooltip=HELP),
            ],
            outputs=[MODEL.Output(display_name="starvsr_model", tooltip="For the other StarVSR nodes.")],
        )

    @classmethod
    def execute(cls, model: str, weights: str, precision: str, options: str = "") -> Any:
        """Load the model on ComfyUI's device."""
        values = job_options(scale=4, detail=1, steps=0, seed=0, more=options)
        values |= {"model": model, "weights": host.weights_path(weights), "device": host.device()}
        if precision != "auto":
            values["precision"] = precision
        with torch.inference_mode(False):  # its tensors outlive this run
            return io.NodeOutput(load_for(options_from(values)))


class UpscaleImages(io.ComfyNode):
    """Upscales a batch in memory."""

    @classmethod
    def define_schema(cls) -> Any:
        """Describe the node."""
        return _schema(
            node_id="StarVSRUpscaleImages",
            display_name="Upscale Images (StarVSR)",
            description="Upscales a batch of images: frames of a video seen together, without flicker, or single "
            "images. A long video takes less memory as a file: Upscale Video (StarVSR).",
            search_aliases=["upscale", "video super resolution", "enlarge video", "restore video"],
            inputs=[
                MODEL.Input("starvsr_model"),
                io.Image.Input("images", tooltip="Frames in order, or single images. Alpha is enlarged, too."),
                *_job_inputs()[:4],
                io.Combo.Input(
                    "batch",
                    options=list(BATCHES),
                    default=BATCHES[0],
                    tooltip="Frames of a video are seen together up to the next scene cut; single images alone.",
                ),
                *_job_inputs()[4:],
            ],
            outputs=[io.Image.Output(display_name="images")],
        )

    @classmethod
    def execute(
        cls,
        starvsr_model: Upscaler,
        images: torch.Tensor,
        scale: float,
        detail: float,
        steps: int,
        seed: int,
        batch: str,
        prompt: str = "",
        options: str = "",
    ) -> Any:
        """Upscale the batch."""
        values = job_options(scale=scale, detail=detail, steps=steps, seed=seed, prompt=prompt, more=options)
        with host.interruptions() as cancel, host.whole_device(starvsr_model.device):
            made = upscale_images(
                images,
                starvsr_model,
                values,
                are_video=batch == BATCHES[0],
                cancel=cancel,
                on_progress=host.progress_bar(),
                on_notes=host.tell,
            )
        return io.NodeOutput(made)


class UpscaleVideo(io.ComfyNode):
    """Upscales a video file into the output folder."""

    @classmethod
    def define_schema(cls) -> Any:
        """Describe the node."""
        return _schema(
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
                *_job_inputs(),
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


class Compare(io.ComfyNode):
    """Shows inputs and results beside each other."""

    @classmethod
    def define_schema(cls) -> Any:
        """Describe the node."""
        return _schema(
            node_id="StarVSRCompare",
            display_name="Compare Before and After (StarVSR)",
            description="Lays each image, enlarged by bicubic interpolation, beside its result.",
            search_aliases=["compare images", "before after", "side by side"],
            inputs=[
                io.Image.Input("before", tooltip="The images as they were."),
                io.Image.Input("after", tooltip="The results, as many."),
                io.Combo.Input(
                    "layout",
                    options=list(LAYOUTS),
                    default=LAYOUTS[0],
                    tooltip="Halves with a line between, or whole images above their most detailed parts.",
                ),
                io.String.Input("before_label", default="bicubic", tooltip="Written on the left half."),
                io.String.Input("after_label", default="StarVSR", tooltip="Written on the right half."),
            ],
            outputs=[io.Image.Output(display_name="images")],
        )

    @classmethod
    def execute(
        cls, before: torch.Tensor, after: torch.Tensor, layout: str, before_label: str, after_label: str
    ) -> Any:
        """Draw the pictures."""
        with host.interruptions() as cancel:
            return io.NodeOutput(compare_images(before, after, (before_label, after_label), layout, cancel))


class StarVSRExtension(ComfyExtension):
    """All nodes."""

    async def get_node_list(self) -> list[Any]:
        """Return the nodes."""
        return [LoadModel, UpscaleImages, UpscaleVideo, Compare]


async def comfy_entrypoint() -> StarVSRExtension:
    """Return the extension: what ComfyUI calls in a folder of custom nodes."""
    host.register_weights_folder()
    return StarVSRExtension()


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
