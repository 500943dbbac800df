"""What every test run has: few threads (the machine is shared) and no accidental use of the network."""

from __future__ import annotations

import os

# before torch or OpenCV are imported: many threads on few cores make small tensors slower, not faster
os.environ.setdefault("OMP_NUM_THREADS", "2")
os.environ["HF_HUB_OFFLINE"] = "1"
