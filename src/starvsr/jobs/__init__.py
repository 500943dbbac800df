"""Jobs that survive being killed: finished parts are kept on disk, and the same command resumes from them.

``folder`` names the files, ``manifest`` says what the job is, ``journal`` what is finished, ``lock`` which process
works on it;
``work`` makes the parts, ``joiner`` joins them, ``inspect`` reports on unfinished jobs. See docs/reliability.md.
"""
