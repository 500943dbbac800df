"""How a video is cut: in time (``segments``), in space (``tiles``), and so that both fit the memory (``plan``)."""
