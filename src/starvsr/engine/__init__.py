"""Frames in, enlarged frames out, in constant memory; knows no model family and no files.

`upscaler` is the protocol that models implement. `chunk_plan`, `segments` and `tiles` cut a video in time and space;
`stream` reads ahead and writes behind, `render` runs the model on one segment, `finish` makes the frames that are
written.
"""
