"""Upscale a file on a server (`starvsr serve`), with the standard library alone.

python examples/use_the_server.py http://127.0.0.1:7860 clip.mp4 large.mp4
"""

import json
import shutil
import sys
import time
from pathlib import Path
from urllib.parse import quote
from urllib.request import Request, urlopen

server, source, target = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
if not source.is_file():
    sys.exit(f"error: there is no file {source}")
jobs = f"{server}/api/v1/jobs"
with source.open("rb") as file:  # streamed, not read into memory
    headers = {"Content-Type": "application/octet-stream", "Content-Length": str(source.stat().st_size)}
    url = f"{jobs}/file?name={quote(source.name)}&container={target.suffix[1:]}&model=bicubic&scale=2"
    job = json.load(urlopen(Request(url, file, headers)))
while job["state"] in ("checking", "queued", "running"):
    print(job["state"], (job["progress"] or {}).get("seconds_left"))
    time.sleep(1)
    job = json.load(urlopen(f"{jobs}/{job['id']}"))
if job["state"] != "done":
    sys.exit(f"{job['state']}: {job['error']}")
with urlopen(f"{jobs}/{job['id']}/result") as result, target.open("wb") as file:
    shutil.copyfileobj(result, file)
print(f"{target}: {job['result']['num_frames']} frames of {job['result']['width']}x{job['result']['height']}")
