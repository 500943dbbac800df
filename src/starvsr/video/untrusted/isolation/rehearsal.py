"""Go through the streams that are going to be copied, into nowhere."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import av

from starvsr.video.info import VideoInfo
from starvsr.video.parts.join_file import CountedFile
from starvsr.video.remux.streams import StreamCopier


def rehearse(info: VideoInfo, muxer: str, *, converts_sound: bool = False) -> None:
    """Copy all other streams, tags, chapters and attachments of an input, and keep nothing.

    What goes wrong in an orderly way is left for the real copying to tell; of interest is that the process lives.

    Args:
        info: The input.
        muxer: FFmpeg's name of the output's container.
        converts_sound: Whether sound that the container cannot hold is coded anew.
    """
    try:
        with av.open(CountedFile(), "w", format=muxer) as output:
            copier = StreamCopier(info, output, muxer, None, converts_sound=converts_sound)
            try:
                copier.before_video()
                video: Any = output.add_stream("libvpx" if muxer == "webm" else "mpeg4", rate=25)
                video.width, video.height, video.pix_fmt = 64, 64, "yuv420p"
                copier.after_video(video)
                copier.begin(Fraction(0))
                output.start_encoding()
                copier.start_reading()
                copier.advance(None)
            finally:
                copier.close()
    except (av.error.FFmpegError, OSError, ValueError, OverflowError):
        return
