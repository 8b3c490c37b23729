"""Batches, and `tag`: a file of rows in, the same rows with their predictions out."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Unpack

import msgspec

from pigeonhole_client import _tag_state, frames, tagging
from pigeonhole_client._async.batch_calls import AsyncBatchCalls
from pigeonhole_client._async.tag_run import AsyncTagRun, state_of
from pigeonhole_client._requests import Labels, Options, PathLike, given, question
from pigeonhole_client._tag_state import TagState
from pigeonhole_client.frames import Frame
from pigeonhole_client.tagging import OnProgress, ProgressLine, TagResult

_PART_BYTES = 8 * 2**20
_MAX_PARTS = 10_000
_PATIENCE_S = 600.0


class AsyncBatches(AsyncBatchCalls):
    """Batches of the account."""

    async def tag(
        self,
        path: PathLike,
        labels: Labels | None = None,
        *,
        classifier: str | None = None,
        output: PathLike | None = None,
        errors: PathLike | None = None,
        progress: bool | OnProgress = False,
        resume: bool = True,
        patience_s: float = _PATIENCE_S,
        id_column: str | None = None,
        id_columns: Sequence[str] | None = None,
        text_column: str | None = None,
        image_column: str | None = None,
        file_column: str | None = None,
        input_format: str | None = None,
        delimiter: str | None = None,
        encoding: str | None = None,
        skip_rows: int | None = None,
        output_format: str | None = None,
        csv_formulas: str | None = None,
        csv_delimiter: str | None = None,
        csv_decimal: str | None = None,
        csv_bom: bool | None = None,
        completion_window: str | None = None,
        metadata: dict[str, str] | None = None,
        part_bytes: int = _PART_BYTES,
        **options: Unpack[Options],
    ) -> TagResult:
        """Tag the rows of a CSV, JSONL or Parquet file, plain or as `.gz` or `.zst`.

        A run that was killed goes on where it was when the same call is made again: nothing is
        uploaded twice, and there is one batch. What it needs to know stands in a file beside the
        input until the run ends. An input that was changed meanwhile is a new run.

        Args:
            path: The file of rows.
            labels: Labels, or several questions by name; or pass a `classifier`.
            classifier: Id, name, `name@v3` or `name@alias` of a classifier.
            output: Where the rows with their predictions go; beside the input if absent. The suffix
                says the format: `.csv`, `.jsonl` or `.parquet`.
            errors: Where the failed rows go, as lines of JSON; beside the output if absent.
            progress: True: on stderr; or a function that is called with each `TagProgress`.
            resume: False: begin anew, whatever an earlier run has left.
            patience_s: How long a service that is away or busy is waited for, a request.
            id_column, id_columns: What to call the rows; their numbers if absent.
            text_column: `text` if absent; or `image_column`, or `file_column`.
            input_format, delimiter, encoding, skip_rows: How to read the file; found out if absent.
            output_format, csv_formulas, csv_delimiter, csv_decimal, csv_bom: The form of the
                output, as for a batch.
            completion_window, metadata: As for a batch.
            part_bytes: Size of the parts of the upload.
            options: See `Options`.

        Raises:
            ConfigurationError: The file cannot be read, arguments contradict each other, or another
                process makes the same call just now.
            BatchFailed: The service cannot read the file; `.batch.errors` names the lines.
            ApiError, ConnectionFailed: The service refuses, or is away for longer than the
                patience. The same call goes on from there.
        """
        source = Path(path)
        target = tagging.output_path(source, None if output is None else str(output))
        request = {
            "endpoint": "/v1/classify",
            "classify": question(labels, classifier, options),
            "output_format": output_format or tagging.format_of(target),
            **given(
                id_column=id_column,
                id_columns=None if id_columns is None else list(id_columns),
                text_column=text_column,
                image_column=image_column,
                file_column=file_column,
                input_format=input_format,
                delimiter=delimiter,
                encoding=encoding,
                skip_rows=skip_rows,
                csv_formulas=csv_formulas,
                csv_delimiter=csv_delimiter,
                csv_decimal=csv_decimal,
                csv_bom=csv_bom,
                completion_window=completion_window,
                metadata=metadata,
            ),
        }
        base_url = self._transport.address.base_url
        place = _tag_state.place(source, base_url=base_url, request=request, output=target)
        described = _tag_state.describe(source)
        fresh = TagState(
            base_url=base_url,
            request=request,
            output=str(target.absolute()),
            errors=str(Path(errors or tagging.errors_path(target)).absolute()),
            input=described,
            part_bytes=max(part_bytes, -(-described.bytes // _MAX_PARTS)),
        )

        def begin() -> TagState:
            return state_of(place, fresh) if resume else fresh

        return await self._run(source, begin, place, progress, patience_s)

    async def resume_tag(
        self,
        path: PathLike,
        *,
        progress: bool | OnProgress = False,
        patience_s: float = _PATIENCE_S,
    ) -> TagResult:
        """Go on with the one run on a file that was interrupted.

        Raises:
            ConfigurationError: There is none, there are several, the file was changed meanwhile, or
                the run was with another service.
        """
        source = Path(path)
        place, state = _tag_state.interrupted(source)
        _tag_state.check(state, source, base_url=self._transport.address.base_url)
        return await self._run(
            source, lambda: _tag_state.load(place) or state, place, progress, patience_s
        )

    async def tag_frame(
        self,
        frame: Frame,
        labels: Labels | None = None,
        *,
        classifier: str | None = None,
        text_column: str = "text",
        progress: bool | OnProgress = False,
        patience_s: float = _PATIENCE_S,
        **options: Unpack[Options],
    ) -> Frame:
        """A frame of pandas or polars with the columns `prediction`, `score` and `error`.

        The texts go as a batch, so that a million rows are no more trouble than ten. `error` holds
        the code of a row that failed, such as `empty_text`.
        """
        cells = frames.column(frame, text_column)
        predictions: list[Any] = [None] * len(cells)
        scores: list[Any] = [None] * len(cells)
        problems: list[Any] = [None] * len(cells)
        if cells:
            with tempfile.TemporaryDirectory(prefix="pigeonhole-") as folder:
                rows, output = Path(folder) / "rows.jsonl", Path(folder) / "tagged.jsonl"
                with rows.open("wb") as file:
                    for number, cell in enumerate(cells):
                        row = {"id": str(number), "text": "" if cell is None else str(cell)}
                        file.write(msgspec.json.encode(row) + b"\n")
                result = await self.tag(
                    rows,
                    labels,
                    classifier=classifier,
                    output=output,
                    progress=progress,
                    patience_s=patience_s,
                    id_column="id",
                    **options,
                )
                for entry in _lines(result.output):
                    place = int(entry["id"])
                    predictions[place], scores[place] = entry["prediction"], entry["score"]
                for entry in _lines(result.errors):
                    problems[int(entry["id"])] = entry["error"]["code"]
        columns = {"prediction": predictions, "score": scores, "error": problems}
        return frames.with_columns(frame, columns)

    async def _run(
        self,
        source: Path,
        begin: Callable[[], TagState],
        place: Path,
        progress: bool | OnProgress,
        patience_s: float,
    ) -> TagResult:
        line = ProgressLine() if progress is True else None
        tell: OnProgress = line or (progress if callable(progress) else _nothing)
        try:
            transport = self._transport.patient(patience_s)
            with _tag_state.held(place):
                return await AsyncTagRun(transport, source, begin(), place, tell).run()
        finally:
            if line is not None:
                line.close()


def _lines(path: str | None) -> list[dict[str, Any]]:
    if path is None:
        return []
    with Path(path).open("rb") as lines:
        return [msgspec.json.decode(line) for line in lines]


def _nothing(_: object) -> None:
    """Progress that the caller did not ask for."""
