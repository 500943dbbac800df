"""Jobs that survive being killed: what is finished lies on the disk, and the same command goes on from there.

``folder`` names the files, ``plan`` says what the job is, ``journal`` what is finished, ``lock`` who is at it,
``work`` does it, ``survey`` tells people. docs/reliability.md describes the whole.
"""
