"""Workers as actors of a Ray cluster: on each node as many as its GPUs, or its processors, allow.

Ray is imported when an engine starts. An actor stays on its node and keeps its model; orders and replies are small
dictionaries, so nothing of size ever lies in Ray's object store. Plain actors, not a pool of Ray's: the driver knows
how many orders are under way, and which node a lost one was on.
"""

from __future__ import annotations

import importlib
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from starvsr.apps.batch.engine import Order, Reply, Worker
from starvsr.apps.batch.ray_cluster import connect
from starvsr.apps.batch.settings import WorkSettings
from starvsr.errors import WorkerError

_LOOK_EVERY = 2.0  # seconds between looks at the nodes of the cluster
_ASK_EVERY = 3.0  # seconds between questions for progress
_MOST_STARTS = 3  # on one node in a row that end before a worker is ready
_NODE_PATIENCE = 1.0  # seconds that the cluster is given to notice that a node is gone


@dataclass
class _Actor:
    """A worker on a node."""

    name: str
    node: str
    handle: Any
    worker: Worker | None = None
    order: Order | None = None
    answer: Any = None  # what Ray calls a reference
    question: Any = None
    progress: dict[str, Any] = field(default_factory=dict)


class RayEngine:
    """Has actors on the nodes of a cluster; see `starvsr.apps.batch.engine.Engine` for what holds.

    Args:
        settings: Of the batch.
        address: Of the cluster ("auto", "ray://host:10001", "host:6379"); None starts one on this machine.
        workers_per_node: At most so many on each node; None: as its GPUs or processors allow.
        worker: The class of the workers, as ``module:name``.
    """

    def __init__(
        self,
        settings: WorkSettings,
        address: str | None = None,
        workers_per_node: int | None = None,
        worker: str = "starvsr.apps.batch.clip_worker:ClipWorker",
    ) -> None:
        self._settings, self._address, self._most, self._worker = settings, address, workers_per_node, worker
        self._actors: list[_Actor] = []
        self._failed_starts: Counter[str] = Counter()
        self._problem = ""
        self._num_started = 0
        self._last_look = self._last_question = 0.0
        self._is_ours = False
        self._alive: set[str] = set()
        self.notes: list[str] = []

    def start(self) -> None:
        """Connect to the cluster and start an actor for each place on its nodes.

        Raises:
            OptionError: Ray is not installed, or there is no cluster at the address.
        """
        self._ray, self._is_ours = connect(self._address)
        module, name = self._worker.split(":")
        self._class = getattr(importlib.import_module(module), name)
        self._look_at_nodes()

    def idle(self) -> list[Worker]:
        """Return the workers that have no order; starts others on nodes that have come.

        Raises:
            WorkerError: None can be started.
        """
        self._look_at_nodes()
        if not self._actors and self._alive and all(self._failed_starts[n] >= _MOST_STARTS for n in self._alive):
            raise WorkerError(f"no worker can be started on this cluster: {self._problem}")
        return [actor.worker for actor in self._actors if actor.worker is not None and actor.order is None]

    def submit(self, worker: str, order: Order) -> None:
        """Give an idle worker an order."""
        actor = next(actor for actor in self._actors if actor.name == worker)
        actor.order = order
        actor.answer = actor.handle.do.remote(order)

    def wait(self, seconds: float) -> list[Reply]:
        """Return the orders that came to an end."""
        self._ask()
        under_way = {actor.answer: actor for actor in self._actors if actor.answer is not None}
        if not under_way:
            time.sleep(min(seconds, 0.2))
            return []
        ready, _ = self._ray.wait(list(under_way), num_returns=1, timeout=seconds)
        if ready:  # and what else came meanwhile
            ready, _ = self._ray.wait(list(under_way), num_returns=len(under_way), timeout=0)
        replies = [self._taken(under_way[answer]) for answer in ready]
        return [reply for reply in replies if reply is not None]

    def progress(self) -> list[dict[str, Any]]:
        """Return what the workers say about their orders."""
        return [dict(actor.progress) for actor in self._actors if actor.order is not None and actor.progress]

    def stop(self) -> None:
        """Ask all workers to give up what they do."""
        for actor in self._actors:
            actor.handle.stop.remote()

    def close(self) -> None:
        """End all actors, and the cluster where it was started here."""
        if not hasattr(self, "_ray"):
            return
        for actor in self._actors:
            self._end(actor)
        self._actors = []
        if self._is_ours:
            self._ray.shutdown()
            self._is_ours = False

    # ---- nodes

    def _look_at_nodes(self) -> None:
        """Start actors where nodes have room for them."""
        now = time.monotonic()
        if now - self._last_look < _LOOK_EVERY:
            return
        self._last_look = now
        nodes = [node for node in self._ray.nodes() if node["Alive"]]
        self._alive = {node["NodeID"] for node in nodes}
        plans = {node["NodeID"]: self._places(node["Resources"]) for node in nodes}
        if len({gpus > 0 for number, gpus in plans.values() if number}) > 1:
            self._note(
                "GPUs and processors both work on this batch: a clip that is made on one differs in bytes from the "
                "same clip made on the other; --device cuda or --device cpu keeps to one"
            )
        if not any(number for number, _ in plans.values()):
            what = "GPU" if self._settings.device.startswith("cuda") else "GPU or processor"
            self._note(f"no node of the cluster offers a {what}: waiting for one that does")
        for node, (number, gpus) in plans.items():
            there = sum(actor.node == node for actor in self._actors)
            if self._failed_starts[node] < _MOST_STARTS:
                for _ in range(number - there):
                    self._begin(node, gpus)

    def _places(self, resources: dict[str, float]) -> tuple[int, int]:
        """Return how many workers a node gets, and the GPUs of each."""
        device, gpus = self._settings.device, int(resources.get("GPU", 0))
        on_gpus = device.startswith("cuda") or (device == "auto" and gpus > 0)
        number = gpus if on_gpus else int(resources.get("CPU", 0)) // (self._settings.threads or 1)
        return (number if self._most is None else min(number, self._most)), int(on_gpus)

    def _begin(self, node: str, gpus: int) -> None:
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        self._num_started += 1
        name = f"worker {self._num_started}"
        remote = self._ray.remote(self._class).options(
            num_cpus=self._settings.threads or 1,
            num_gpus=gpus,
            max_restarts=0,
            max_concurrency=3,  # progress and stop while an order is at work
            scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False),
        )
        handle = remote.remote(self._settings.as_dict())
        actor = _Actor(name, node, handle, order={"op": "hello"})
        actor.answer = handle.do.remote(actor.order)
        self._actors.append(actor)

    # ---- replies

    def _taken(self, actor: _Actor) -> Reply | None:
        """Take the answer of an actor, or its death."""
        order, answer = actor.order, actor.answer
        assert order is not None
        actor.order = actor.answer = actor.question = None
        actor.progress = {}
        try:
            content = self._ray.get(answer)
        except self._ray.exceptions.RayActorError as error:
            return self._lost(actor, order, error)
        except self._ray.exceptions.RayError as error:
            message = f"unexpected {type(error).__name__}: {' '.join(str(error).split())[:300]}"
            content = {"kind": "failed", "message": message, "is_final": False, "is_transfer": False}
        if order["op"] != "hello":
            return Reply(actor.name, order, content)
        if content["kind"] == "hello":
            self._failed_starts[actor.node] = 0
            told = f"{content['host']}, process {content['pid']}, {content['device']}"
            actor.worker = Worker(actor.name, content["kind_of_device"], told)
        else:
            self._failed_start(actor, content.get("message", "it was stopped"))
        return None

    def _lost(self, actor: _Actor, order: Order, error: Exception) -> Reply | None:
        self._actors.remove(actor)
        self._end(actor)  # one that is out of reach only must not work on
        told = " ".join(str(error).split())[:160]
        if order["op"] == "hello":
            self._failed_start(actor, told)
            return None
        gone = self._is_gone(actor.node)
        return Reply(actor.name, order, None, "its node was lost" if gone else f"its process ended ({told})", gone)

    def _failed_start(self, actor: _Actor, why: str) -> None:
        self._problem = why
        self._failed_starts[actor.node] += 1
        self._end(actor)
        if actor in self._actors:
            self._actors.remove(actor)
        if self._failed_starts[actor.node] == _MOST_STARTS:
            self._note(f"no worker starts on node {actor.node[:8]}, it is left out: {why}")

    def _is_gone(self, node: str) -> bool:
        """Whether a node is no longer there; gives the cluster a moment to notice."""
        end = time.monotonic() + _NODE_PATIENCE
        while any(one["NodeID"] == node and one["Alive"] for one in self._ray.nodes()):
            if time.monotonic() >= end:
                return False
            time.sleep(0.1)
        return True

    def _end(self, actor: _Actor) -> None:
        self._ray.kill(actor.handle, no_restart=True)

    # ---- progress

    def _ask(self) -> None:
        """Ask the workers now and then how far they are; takes the answers that have come, and waits for none."""
        asked = {a.question: a for a in self._actors if a.question is not None}
        if asked:
            ready, _ = self._ray.wait(list(asked), num_returns=len(asked), timeout=0)
            for question in ready:
                actor = asked[question]
                actor.question = None
                try:
                    actor.progress = self._ray.get(question)
                except self._ray.exceptions.RayError:
                    actor.progress = {}
        now = time.monotonic()
        if now - self._last_question >= _ASK_EVERY:
            self._last_question = now
            for actor in self._actors:
                if actor.order is not None and actor.worker is not None and actor.question is None:
                    actor.question = actor.handle.progress.remote()

    def _note(self, text: str) -> None:
        if text not in self.notes:
            self.notes.append(text)
