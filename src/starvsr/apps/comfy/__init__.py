"""ComfyUI nodes. ``integrations/comfyui`` is the folder that ComfyUI loads; it imports `nodes.comfy_entrypoint`.

`nodes` describes the nodes to ComfyUI, `host` asks ComfyUI for devices, folders, progress and interruptions; `frames`,
`video_file` and `comparing` do the work and know no ComfyUI.
"""
