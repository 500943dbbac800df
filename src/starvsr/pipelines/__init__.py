"""From low-quality frames to high-quality frames.

`api` is the door for users; `inputs` and `outputs` look at files before any work is done, `running` does the job,
`comparison` shows it. The rooms: ``options`` what is asked for, ``cutting`` how a video is cut, ``pictures`` sums on
pixels, ``memory`` what the published networks need, ``families`` the models behind the face of `upscaler`,
``streaming`` frames in and out, ``jobs`` what survives being killed.
"""
