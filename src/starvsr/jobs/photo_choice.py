"""Whether a folder of images is one film, or photos that are each enlarged independently.

It is one film when it is meant as one: its images have the same name but for one number, and the same size.
`--images film` and `--images photos` decide otherwise.
"""

from __future__ import annotations

import os
from pathlib import Path

from starvsr.errors import OptionError
from starvsr.families.options import UpscaleOptions
from starvsr.jobs.outputs import is_images
from starvsr.video.patterns import is_pattern
from starvsr.video.read.images import images_in, sequence_numbers
from starvsr.video.read.photo_sizes import have_one_size


def are_photos(path: Path, out: Path, options: UpscaleOptions) -> bool:
    """Whether an input is a folder of photos, each to be enlarged independently.

    Args:
        path: The input.
        out: The output: a film is meant where that is a video or numbered.
        options: ``images`` decides; with "auto" the names and the sizes do.

    Raises:
        OptionError: Photos were asked for, and they cannot become this output, or a part of time was asked for.
    """
    is_folder_output = is_images(out) and not is_pattern(out) and not out.suffix
    is_timed = options.start is not None or options.duration is not None
    if options.images == "photos":
        _refuse_film_options(path, out, is_folder_output, is_timed)
        return True
    if options.images == "film" or not os.path.isdir(path) or not is_folder_output or is_timed:
        return False
    files = images_in(path)
    if not files:
        return False
    return sequence_numbers(files) is None or not (options.isolate or have_one_size(files))


def _refuse_film_options(path: Path, out: Path, is_folder_output: bool, is_timed: bool) -> None:
    if not os.path.isdir(path):
        raise OptionError(f"{path}: no folder of images: leave out --images photos")
    if not is_folder_output:
        raise OptionError(
            f"{out}: photos become a folder of photos: give the name of one, or leave out --images photos"
        )
    if is_timed:
        raise OptionError("--start and --duration have no use for photos, which have no times: leave them out")
