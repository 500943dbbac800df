"""ComfyUI nodes. ``integrations/comfyui`` is the folder that ComfyUI loads; it imports `nodes.comfy_entrypoint`.

`nodes` and `video_node` describe the nodes to ComfyUI (`schemas`: what they have in common), `host` asks ComfyUI for
devices, folders, progress and interruptions; `frames`, `video_file` and `comparing` do the work and know no ComfyUI.
"""
