"""Memory of a worker over time: `python -m ops.bench.memory [--minutes N] [--data DIR]`.

Mixed traffic with odd files (`ops.bench.odd_inputs`) against a real worker: texts, long documents,
refused ones, PDFs, images, batches, training. Prints the memory of the worker, of its caches and of
its children every minute. The claim: in the last third of the time the worker, without what its
caches hold, grows by less than 2 %. Each cache has a limit (`docs/explanation/memory.md`).
"""

from __future__ import annotations

import argparse
import random
import signal
import statistics
import sys
import tempfile
import threading
import time
import urllib.request
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from ops.bench import embedding_pipeline, synthetic_media, targets
from ops.bench.cluster import Cluster, fleet
from ops.bench.odd_inputs import KINDS, OddInputSender
from ops.bench.service import HOST, free_port, own_rss_mib, rss_mib
from ops.bench.texts import mixed_texts
from shared import telemetry

_MAX_GROWTH = 0.02
_SAMPLE_S = 1.0
_TEXT_MODEL = "all-MiniLM-L6-v2"
_JOIN_S = 300.0


def main() -> None:
    """Print the memory of each minute, and the claim."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what was started ends
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--minutes", type=int, default=30)
    parser.add_argument("--callers", type=int, default=3, help="that send at the same time")
    parser.add_argument("--pause-s", type=float, default=1.0, help="of a caller between requests")
    options = parser.parse_args()
    texts = mixed_texts(options.data, 20_000)
    with tempfile.TemporaryDirectory(prefix="pigeonhole-bench-") as place:
        catalogue = Path(place) / "catalogue.toml"
        catalogue.write_text(
            embedding_pipeline.catalogue_of(
                synthetic_media.clip(Path(place) / "clip", synthetic_media.SLIGHT)
            )
        )
        models = f"{_TEXT_MODEL},{embedding_pipeline.NAME}"
        metrics_port = free_port()
        with fleet(catalogue=catalogue, models=models, metrics_port=metrics_port) as running:
            traffic = Traffic(running, texts, Path(place), pause_s=options.pause_s)
            traffic.start(options.callers)
            try:
                minutes = watch(running.processes["worker"].pid, metrics_port, options.minutes)
            except RuntimeError as exc:
                raise RuntimeError(f"{exc}:\n{running.tail()}") from exc
            finally:
                traffic.stop()
    traffic.report()
    claim(minutes)


class Traffic:
    """Callers that send one request after another until they are stopped."""

    def __init__(self, running: Cluster, texts: list[str], folder: Path, *, pause_s: float) -> None:
        self._running = running
        self._texts = texts
        self._folder = folder
        self._pause_s = pause_s
        self._over = threading.Event()
        self._threads: list[threading.Thread] = []
        self._lock = threading.Lock()
        self._statuses: Counter[tuple[str, str]] = Counter()

    def start(self, callers: int) -> None:
        """Begin to send."""
        for number in range(callers):
            sender = OddInputSender(
                service=self._running.account(f"caller {number}"),
                texts=self._texts,
                image_model=embedding_pipeline.NAME,
                folder=self._folder,
                pick=random.Random(number),
            )
            thread = threading.Thread(target=self._send, args=(sender,), daemon=True)
            thread.start()
            self._threads.append(thread)

    def stop(self) -> None:
        """Send nothing more, and wait for the answers."""
        self._over.set()
        for thread in self._threads:
            thread.join(_JOIN_S)

    def report(self) -> None:
        """Print what was answered to each kind of request."""
        names = sorted({name for name, _ in self._statuses})
        for name in names:
            statuses = {s: n for (of, s), n in sorted(self._statuses.items()) if of == name}
            shown = ", ".join(f"{count} of {status}" for status, count in statuses.items())
            print(f"# {name}: {shown}", flush=True)

    def _send(self, sender: OddInputSender) -> None:
        kinds, weights = list(KINDS), list(KINDS.values())
        while not self._over.is_set():
            (kind,) = sender.pick.choices(kinds, weights)
            try:
                statuses = [str(status) for status in kind(sender)]
            except (OSError, RuntimeError) as exc:
                statuses = [f"{type(exc).__name__}: {str(exc)[:100]}"]
            with self._lock:
                self._statuses.update((kind.__name__, status) for status in statuses)
            self._over.wait(self._pause_s)


@dataclass(frozen=True, kw_only=True)
class Minute:
    """Medians of a minute, in MiB; `caches` at its end."""

    worker: float
    caches: float

    @property
    def without_caches(self) -> float:
        """The part of the worker that is not the contents of a cache."""
        return self.worker - self.caches


def watch(worker: int, metrics_port: int, minutes: int) -> list[Minute]:
    """Print the memory of each minute.

    Raises:
        RuntimeError: The worker ended, so it says nothing of its memory.
    """
    print("| minute | worker, median (peak), MiB | caches | its children, median |", flush=True)
    print("| --- | --- | --- | --- |", flush=True)
    measured = []
    began = time.monotonic()
    for minute in range(1, minutes + 1):
        own, children = [], []
        while time.monotonic() < began + 60 * minute:
            own.append(own_rss_mib(worker))
            if not own[-1]:
                raise RuntimeError(f"the worker has ended in minute {minute}")
            children.append(rss_mib(worker) - own[-1])
            time.sleep(_SAMPLE_S)
        last = Minute(worker=statistics.median(own), caches=_caches_mib(metrics_port))
        measured.append(last)
        print(
            f"| {minute} | {last.worker:.0f} ({max(own):.0f}) | {last.caches:.1f} "
            f"| {statistics.median(children):.0f} |",
            flush=True,
        )
    return measured


def _caches_mib(metrics_port: int) -> float:
    """What the worker says that its caches hold."""
    with urllib.request.urlopen(f"http://{HOST}:{metrics_port}/metrics", timeout=10) as answer:
        text = answer.read().decode()
    return (
        sum(
            sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
            if sample.name == telemetry.CACHE_BYTES
        )
        / 2**20
    )


def claim(minutes: list[Minute]) -> None:
    """Print the growth of the last third, with and without the caches."""
    third = max(1, len(minutes) // 3)
    before, last = minutes[-third - 1] if len(minutes) > third else minutes[0], minutes[-1]
    targets.head()
    for what, was, now in (
        ("worker without its caches", before.without_caches, last.without_caches),
        ("worker", before.worker, last.worker),
    ):
        targets.line(
            f"{what}, last of {len(minutes)} minutes, MiB; baseline: {third} minutes earlier",
            f"{now:.0f}",
            f"{was:.0f}",
            now / was,
            f"grows by < {_MAX_GROWTH:.0%}",
            met=now < was * (1 + _MAX_GROWTH),
        )


if __name__ == "__main__":
    main()
