"""Images and documents: `python -m ops.bench.media [--data DIR] [--images N] [--soak N]`.

Images of 500 by 330 with noise and an untrained ViT-B/32 against bare open_clip; the text of PDFs
against bare PDFium; memory, descriptors and threads over many images; and one image whose
caller waits, beside a batch of them. Measured and baseline take turns; a ratio is the median of
those of the rounds. On a machine with other work processor time says more than seconds do: it is
that of this process and its children.
"""

from __future__ import annotations

import argparse
import base64
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from functools import partial
from itertools import cycle, islice
from pathlib import Path

import pypdfium2 as pdfium

from ops.bench import batch_runs, embedding_pipeline, process_tree, synthetic_media, targets
from ops.bench.cluster import fleet
from ops.bench.resource_sampler import watching
from ops.bench.service import HttpCaller, Service
from ops.bench.speed import seconds
from shared.settings import Settings
from workers.cpu_quota import usable_cores
from workers.embedding.media_decoder import Decoders
from workers.inputs.documents import pdf
from workers.inputs.documents.model import Document, DocumentBounds
from workers.model_loader import CPU_TOKENS

_LIKE_BARE = 0.95  # of the images that the bare library encodes in the same time
_LIKE_PDFIUM = 0.9  # of its pages
_FLAT_MIB = 50  # from the second quarter of the time to the last
_PASSES = 2  # of a batch, which may go before a image whose caller waits
_PATCHES = 49  # tokens of a image for a ViT-B/32
_ALONE = 20  # calls with nothing beside them
_MAX_PAGES = 1000
_DISTINCT = 256  # images that are drawn; where more are wanted they come again
_SPREAD = 4  # times that the children get the documents: of unlike lengths, they end unevenly
_LIMIT_S = 600.0
_LABELS = ["a circle", "a square"]

Turn = tuple[float, float, float, float]
"""Seconds of what is measured and of the baseline, and the processor time of each."""


def main() -> None:
    """Print a table of what was measured and of what was asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--images", type=int, default=256, help="of a round, and of the batch")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--soak", type=int, default=5000, help="images whose memory is watched")
    options = parser.parse_args()
    targets.head()
    documents(options.data, options.rounds)
    with tempfile.TemporaryDirectory(prefix="pigeonhole-bench-") as place:
        folder = Path(place)
        jpegs = synthetic_media.jpegs(_DISTINCT)
        slight = synthetic_media.clip(folder / "slight", synthetic_media.SLIGHT)
        soak(slight, list(islice(cycle(jpegs), options.soak)))
        real = synthetic_media.clip(folder / "real")
        round_of = list(islice(cycle(jpegs), options.images))
        images(slight, round_of, options.rounds, "a model that costs next to nothing")
        images(real, round_of, options.rounds, synthetic_media.CLIP, least=_LIKE_BARE)
        service(real, round_of)


def images(
    folder: Path, jpegs: Sequence[bytes], rounds: int, name: str, *, least: float | None = None
) -> None:
    """Images in parts, base64 to vectors, against the bare library."""
    with (
        tempfile.TemporaryDirectory() as place,
        embedding_pipeline.worker(folder, Path(place)) as worker,
    ):
        items, bare = (
            embedding_pipeline.images(jpegs),
            embedding_pipeline.bare(folder, worker.model),
        )
        look, encode = partial(worker.look, items), partial(bare, jpegs)
        worker.look(items[: embedding_pipeline.PART])
        bare(jpegs[: embedding_pipeline.PART])
        turns = _in_turns(look, encode, rounds)
    what = f"images/s, {name}, {usable_cores()} cores; baseline: bare open_clip"
    _print(what, len(jpegs), turns, least)


def documents(data: Path, rounds: int) -> None:
    """The text of PDFs in this process, and by children, against a loop over PDFium."""
    found = [path.read_bytes() for path in sorted((data / "documents").glob("*.pdf"))]
    if not found:
        print("# no documents in the data directory: they are made of random words", flush=True)
        found = [synthetic_media.pdf(pages, seed=pages) for pages in (1, 3, 4, 14, 60)]
    bounds = DocumentBounds()
    pages = sum(pdf.read(each, None, _MAX_PAGES, bounds).total_pages for each in found)
    loop = partial(_bare_pages, found)

    def here() -> None:
        for each in found:
            pdf.read(each, None, _MAX_PAGES, bounds)

    what = f"text of {len(found)} PDFs, {pages} pages, in process, pages/s; baseline: bare PDFium"
    loop()
    _print(what, pages, _in_turns(here, loop, rounds), _LIKE_PDFIUM)

    children, settings = usable_cores(), Settings()
    decoders = Decoders(
        children=children,
        memory_bytes=settings.decoder_bytes,
        limit_s=settings.decode_limit_s,
        at_once=True,
    )

    def spread() -> None:
        read: list[Future[Document]] = [
            decoders.document(each, None, _MAX_PAGES) for each in found * _SPREAD
        ]
        for future in read:
            future.result(_LIMIT_S)

    def loops() -> None:
        for _ in range(_SPREAD):
            loop()

    try:
        spread()
        turns = _in_turns(spread, loops, rounds)
    finally:
        decoders.close()
    what = f"the same by {children} children, pages/s; baseline: bare PDFium in one process"
    _print(what, pages * _SPREAD, turns, None)
    busy, bare = (
        statistics.median(each)
        for each in zip(
            *((cpu / wall, cpu2 / wall2) for wall, wall2, cpu, cpu2 in turns), strict=True
        )
    )
    what = "cores that were busy with it; baseline: with bare PDFium in one process"
    targets.line(what, f"{busy:.2f}", f"{bare:.2f}", busy / bare)


def soak(folder: Path, jpegs: Sequence[bytes]) -> None:
    """What many images leave behind in this process and its children."""
    with (
        tempfile.TemporaryDirectory() as place,
        embedding_pipeline.worker(folder, Path(place)) as worker,
    ):
        items = embedding_pipeline.images(jpegs)
        worker.look(items[:_DISTINCT])
        with watching(_taken) as seen:
            worker.look(items)
    for name, series in seen.series.items():
        grown = seen.growth(name)
        memory = name.endswith("MiB")
        targets.line(
            f"{name} over {len(jpegs):,} images, peak (end); baseline: after {_DISTINCT}",
            f"{seen.peak(name):.0f} ({series[-1]:.0f})",
            f"{series[0]:.0f}",
            series[-1] / series[0],
            f"grows by <= {_FLAT_MIB}" if memory else "grows by 0",
            met=grown <= (_FLAT_MIB if memory else 0),
        )


def service(folder: Path, jpegs: Sequence[bytes]) -> None:
    """A batch of images through everything, and one image at a time beside it."""
    with tempfile.TemporaryDirectory(prefix="pigeonhole-bench-") as place:
        catalogue = Path(place) / "catalogue.toml"
        catalogue.write_text(embedding_pipeline.catalogue_of(folder))
        with fleet(
            catalogue=catalogue,
            default_model=embedding_pipeline.NAME,
            models=embedding_pipeline.NAME,
        ) as running:
            ours, other = running.account("images"), running.account("caller")
            encoded = [base64.b64encode(jpeg).decode() for jpeg in jpegs]
            rows = running.folder / "rows.jsonl"
            rows.write_text(
                "".join(
                    f"{json.dumps({'id': f'p{n}', 'image': i})}\n" for n, i in enumerate(encoded)
                )
            )
            file_id = batch_runs.upload(ours, rows)
            calls = cycle(
                other.request({"input": [{"image": each}], "labels": _LABELS}) for each in encoded
            )
            _called_s(other, next(calls))  # embeds the labels
            alone = [_called_s(other, next(calls)) for _ in range(_ALONE)]
            batch_s = _batch_s(ours, file_id, len(encoded))
            beside, beside_s = _beside(ours, other, file_id, len(encoded), lambda: next(calls))
    targets.line(
        f"a batch of {len(encoded)} images as base64, created to completed, images/s",
        f"{len(encoded) / batch_s:.1f}",
    )
    targets.line(
        "one image beside a batch of images, median (95 %) s; baseline: with nothing beside it",
        f"{statistics.median(beside):.2f} ({_share(beside):.2f})",
        f"{statistics.median(alone):.2f} ({_share(alone):.2f})",
        statistics.median(beside) / statistics.median(alone),
    )
    each_s, most = beside_s / len(encoded), _PASSES * CPU_TOKENS // _PATCHES
    targets.line(
        "images of the batch that went before it, median (95 %); baseline: those of the batch",
        f"{statistics.median(beside) / each_s:.0f} ({_share(beside) / each_s:.0f})",
        f"{len(encoded)}",
        statistics.median(beside) / beside_s,
        f"95 % <= {most}: {_PASSES} forward passes",
        met=_share(beside) / each_s <= most,
    )


def _in_turns(
    measured: Callable[[], object], baseline: Callable[[], object], rounds: int
) -> list[Turn]:
    turns = []
    for _ in range(rounds):
        began = process_tree.cpu_s()
        measured_s = seconds(measured)
        middle = process_tree.cpu_s()
        baseline_s = seconds(baseline)
        turns.append((measured_s, baseline_s, middle - began, process_tree.cpu_s() - middle))
    return turns


def _print(what: str, count: int, turns: Sequence[Turn], least: float | None) -> None:
    wall, bare, cpu, bare_cpu = (statistics.median(each) for each in zip(*turns, strict=True))
    ratio = statistics.median(baseline / measured for measured, baseline, _, _ in turns)
    targets.line(
        what,
        f"{count / wall:.1f}",
        f"{count / bare:.1f}",
        ratio,
        "" if least is None else f">= {least}",
        met=None if least is None else ratio >= least,
    )
    targets.line(
        "the same, ms of processor time for each",
        f"{1e3 * cpu / count:.2f}",
        f"{1e3 * bare_cpu / count:.2f}",
        statistics.median(measured / baseline for _, _, measured, baseline in turns),
    )


def _bare_pages(found: Sequence[bytes]) -> None:
    for data in found:
        with pdfium.PdfDocument(data) as document:
            for page in document:
                words = page.get_textpage()
                words.get_text_range()
                words.close()
                page.close()


def _taken() -> dict[str, float]:
    """What this process and its children take."""
    us, children = process_tree.taken()
    return {
        "worker, MiB": us.rss_mib,
        "its children, MiB": children.rss_mib,
        "descriptors": us.descriptors + children.descriptors,
        "threads": us.threads + children.threads,
    }


def _called_s(service: Service, request: bytes) -> float:
    caller = HttpCaller(service)
    try:
        return seconds(partial(caller.call, request))
    finally:
        caller.close()


def _batch_s(service: Service, file_id: str, rows: int) -> float:
    began = time.monotonic()
    batch_runs.await_end(service, _created(service, file_id), rows=rows)
    return time.monotonic() - began


def _created(service: Service, file_id: str) -> str:
    return batch_runs.create(service, file_id, labels=_LABELS, image_column="image")


def _beside(
    ours: Service, other: Service, file_id: str, rows: int, request: Callable[[], bytes]
) -> tuple[list[float], float]:
    """Seconds of calls, one after the other while a batch runs, and of the batch."""
    began = time.monotonic()
    batch_id = _created(ours, file_id)
    batch_runs.await_rows(ours, batch_id, 1)
    took: list[float] = []
    while batch_runs.counted(ours, batch_id) < rows:
        took.append(_called_s(other, request()))
    batch_runs.await_end(ours, batch_id, rows=rows)
    return took, time.monotonic() - began


def _share(took: Sequence[float]) -> float:
    """What 95 of 100 are within."""
    return sorted(took)[max(0, round(0.95 * len(took)) - 1)]


if __name__ == "__main__":
    main()
