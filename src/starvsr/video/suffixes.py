"""Suffixes of files that are taken out of folders: videos and images. A file given by name may have any other."""

from __future__ import annotations

_VIDEO_SUFFIXES = (
    ".264 .265 .3g2 .3gp .asf .avi .divx .dv .f4v .flv .gif .h264 .h265 .hevc .ivf .m1v .m2t .m2ts .m2v .m4v .mjpeg "
    ".mjpg .mkv .mov .mp4 .mpeg .mpg .mts .mxf .nut .obu .ogm .ogv .qt .rm .rmvb .ts .vob .webm .wmv .wtv .y4m"
)
_IMAGE_SUFFIXES = ".avif .bmp .dpx .exr .heic .jp2 .jpeg .jpg .jxl .pgm .png .pnm .ppm .tga .tif .tiff .webp"
VIDEO_SUFFIXES = frozenset(_VIDEO_SUFFIXES.split())
IMAGE_SUFFIXES = frozenset(_IMAGE_SUFFIXES.split())
