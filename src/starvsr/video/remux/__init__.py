"""Copying everything that is not the picture: audio, subtitles, attachments, chapters, tags."""
