"""Parts of an unfinished output: encoded packets in files of our own, joined without encoding again."""
