"""The page as Gradio lays it out: controls made from the options, and places that our scripts fill."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gradio as gr

from starvsr.apps.server.fields import Field
from starvsr.apps.server.page.controls import BASIC, RANGE, container_control, control, further_groups

_FONT = ["system-ui", "sans-serif"]
_MONO = ["ui-monospace", "monospace"]


def make_blocks(fields: Sequence[Field]) -> gr.Blocks:
    """Lay out the page for the fields of the models that are offered."""
    by_name = {field.name: field for field in fields}
    with gr.Blocks(title="starvsr", analytics_enabled=False, fill_width=True) as blocks:
        _place("header")
        with gr.Row(elem_id="columns", equal_height=False):
            with gr.Column(scale=5, min_width=320, elem_id="column-new"):
                _place("source")
                with gr.Column(elem_id="settings"):
                    gr.Markdown("## Settings")
                    _rows([by_name[name] for name in BASIC if name in by_name])
                    with gr.Row():
                        control(by_name["crf"])
                        container_control()
                    _rows([by_name[name] for name in RANGE])
                    _place("more")
                    with gr.Column(elem_id="further"):
                        for group, members in further_groups(fields).items():
                            gr.Markdown(f"### {group}", elem_classes=["starvsr-group"])
                            _rows(members)
                _place("actions")
            with gr.Column(scale=6, min_width=320, elem_id="column-seen"):
                _place("viewer")
                _place("jobs")
    return blocks


def theme() -> Any:
    """Return a theme with the fonts of the system, fetched from nowhere, and with text that is dark enough."""
    soft, soft_dark = "#4b5563", "#b6bec9"
    made = gr.themes.Base(primary_hue="blue", neutral_hue="gray", font=_FONT, font_mono=_MONO)
    return made.set(
        body_text_color_subdued=soft,
        body_text_color_subdued_dark=soft_dark,
        block_info_text_color=soft,
        block_info_text_color_dark=soft_dark,
        block_label_text_color=soft,
        block_label_text_color_dark=soft_dark,
        input_placeholder_color=soft,
        input_placeholder_color_dark=soft_dark,
    )


def _place(name: str) -> None:
    """Make a place for our scripts: plain text, because `gr.HTML` needs a page that may evaluate strings."""
    gr.Markdown("Loading", elem_id=f"starvsr-{name}")


def _rows(fields: Sequence[Field]) -> None:
    """Lay controls side by side, as many as fit."""
    with gr.Row():
        for field in fields:
            control(field)
