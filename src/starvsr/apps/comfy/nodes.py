"""The nodes as ComfyUI sees them, and the extension that holds them: sockets, widgets, tooltips (V3 schema)."""

from __future__ import annotations

from typing import Any

import torch
from comfy_api.latest import ComfyExtension, io

from starvsr.apps.comfy import host
from starvsr.apps.comfy.chosen_options import HELP, job_options
from starvsr.apps.comfy.comparing import LAYOUTS, compare_images
from starvsr.apps.comfy.frames import upscale_images
from starvsr.apps.comfy.schemas import MODEL, job_inputs, schema
from starvsr.apps.comfy.video_node import UpscaleVideo
from starvsr.engine.upscaler import Upscaler
from starvsr.families.available import available_models
from starvsr.families.loading import load_for
from starvsr.families.options import options_from
from starvsr.families.registry import MODELS

BATCHES = ("frames of a video", "single images")


class LoadModel(io.ComfyNode):
    """Loads a model once for all nodes that use it."""

    @classmethod
    def define_schema(cls) -> Any:
        """Describe the node."""
        here = available_models()
        names = [*here, *(name for name in MODELS if name not in here)]
        return schema(
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
        return schema(
            node_id="StarVSRUpscaleImages",
            display_name="Upscale Images (StarVSR)",
            description="Upscales a batch of images: frames of a video seen together, without flicker, or single "
            "images. A long video takes less memory as a file: Upscale Video (StarVSR).",
            search_aliases=["upscale", "video super resolution", "enlarge video", "restore video"],
            inputs=[
                MODEL.Input("starvsr_model"),
                io.Image.Input("images", tooltip="Frames in order, or single images. Alpha is enlarged, too."),
                *job_inputs()[:4],
                io.Combo.Input(
                    "batch",
                    options=list(BATCHES),
                    default=BATCHES[0],
                    tooltip="Frames of a video are seen together up to the next scene cut; single images alone.",
                ),
                *job_inputs()[4:],
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


class Compare(io.ComfyNode):
    """Shows inputs and results beside each other."""

    @classmethod
    def define_schema(cls) -> Any:
        """Describe the node."""
        return schema(
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
