"""StarVSR nodes for ComfyUI. The nodes come with the package starvsr, which requirements.txt names."""

from starvsr.apps.comfy.nodes import comfy_entrypoint

__all__ = ["comfy_entrypoint"]
