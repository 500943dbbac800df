"""ComfyUI for tests: workflows as its page saves them, and the program itself where a copy of it is at hand."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
NODES = ROOT / "integrations" / "comfyui"
_WIDGETS = {"INT", "FLOAT", "STRING", "BOOLEAN", "COMBO"}


def as_prompt(workflow: dict[str, Any], nodes: dict[str, Any]) -> dict[str, Any]:
    """Turn a workflow into what the page sends when it is run.

    Args:
        workflow: As saved: nodes with the values of their widgets in order, and links.
        nodes: What ``/object_info`` tells of each type.
    """
    links = {link[0]: [str(link[1]), link[2]] for link in workflow["links"]}
    prompt = {}
    for node in workflow["nodes"]:
        told = nodes[node["type"]]["input"]
        described = {**told.get("required", {}), **told.get("optional", {})}
        inputs = {socket["name"]: links[socket["link"]] for socket in node["inputs"] if socket["link"] is not None}
        values = iter(node["widgets_values"])
        for name, (kind, *more) in described.items():
            details = more[0] if more else {}
            if name in inputs or not (isinstance(kind, list) or kind in _WIDGETS):
                continue
            inputs[name] = next(values)
            if details.get("control_after_generate"):
                next(values)
        prompt[str(node["id"])] = {"class_type": node["type"], "inputs": inputs}
    return prompt


class ComfyUI:
    """A server of a copy of ComfyUI, on the CPU, with nothing but the project's nodes.

    Args:
        program: Folder of ComfyUI.
        base: Folder for its inputs and outputs.
        python: Interpreter with its requirements.
    """

    def __init__(self, program: Path, base: Path, python: str = sys.executable) -> None:
        for name in ("input", "output", "custom_nodes", "front"):
            (base / name).mkdir(parents=True)
        (base / "front" / "index.html").write_text("no page")
        (base / "custom_nodes" / "starvsr").symlink_to(NODES)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.base, self._url = base, f"http://127.0.0.1:{port}"
        words = [python, "main.py", "--cpu", "--base-directory", base, "--listen", "127.0.0.1", "--port", port]
        words += ["--disable-api-nodes", "--front-end-root", base / "front", "--database-url", "sqlite:///:memory:"]
        with (base / "log").open("w") as log:
            self.process = subprocess.Popen(list(map(str, words)), cwd=program, stdout=log, stderr=log)
        self._wait(lambda: self.get("/queue") is not None, 240)

    def close(self) -> None:
        self.process.kill()
        self.process.wait()

    def get(self, path: str) -> Any:
        try:
            with urllib.request.urlopen(self._url + path, timeout=30) as answer:
                return json.load(answer)
        except (urllib.error.URLError, ConnectionError):
            if self.process.poll() is not None:
                raise AssertionError((self.base / "log").read_text()[-3000:]) from None
            return None

    def post(self, path: str, body: Any) -> Any:
        request = urllib.request.Request(self._url + path, json.dumps(body).encode())
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                text = answer.read()
        except urllib.error.HTTPError as error:
            raise AssertionError(error.read().decode()) from None
        return json.loads(text) if text else None

    def start(self, prompt: dict[str, Any]) -> str:
        return str(self.post("/prompt", {"prompt": prompt})["prompt_id"])

    def result(self, number: str, seconds: float = 240) -> dict[str, Any]:
        """Wait for a prompt's end and return what its history tells."""
        self._wait(lambda: number in self.get(f"/history/{number}"), seconds, 0.02)
        told: dict[str, Any] = self.get(f"/history/{number}")[number]
        return told

    def run(self, prompt: dict[str, Any]) -> dict[str, Any]:
        """Run a prompt and return its outputs by node."""
        told = self.result(self.start(prompt))
        assert told["status"]["status_str"] == "success", told["status"]
        outputs: dict[str, Any] = told["outputs"]
        return outputs

    def file(self, saved: dict[str, str]) -> Path:
        return self.base / saved["type"] / saved["subfolder"] / saved["filename"]

    def _wait(self, is_done: Any, seconds: float, every: float = 0.5) -> None:
        end = time.monotonic() + seconds
        while not is_done():
            assert time.monotonic() < end, (self.base / "log").read_text()[-3000:]
            time.sleep(every)


def program() -> tuple[Path, str] | None:
    """Return the copy of ComfyUI that the environment names, and its interpreter."""
    folder = os.environ.get("STARVSR_COMFYUI")
    return None if folder is None else (Path(folder), os.environ.get("STARVSR_COMFYUI_PYTHON", sys.executable))
