# Made by generate_sync.py out of ../_async: change it there.
"""One run of `tag`: upload, batch, events, download; each step once, whatever is killed between."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from pigeonhole_client import _http, _tag_state, tagging
from pigeonhole_client._sync.batch_calls import BatchCalls
from pigeonhole_client._sync.resources import Files
from pigeonhole_client._sync.transport import Transport
from pigeonhole_client._sync.uploads import Upload
from pigeonhole_client._tag_state import TagState
from pigeonhole_client.errors import BatchFailed, Conflict, NotFound
from pigeonhole_client.tagging import OnProgress, TagProgress, TagResult
from pigeonhole_client.types import Batch


class TagRun:
    """A run, from wherever its state says that it is.

    Args:
        transport: With the patience of the run.
        source: The input.
        state: How far the run is.
        place: Where the state is written.
        on_progress: Told as the run goes on.
    """

    def __init__(
        self,
        transport: Transport,
        source: Path,
        state: TagState,
        place: Path,
        on_progress: OnProgress,
    ) -> None:
        self._transport = transport
        self._source = source
        self._state = state
        self._place = place
        self._on_progress = on_progress
        self._batches = BatchCalls(transport)
        self._files = Files(transport)

    def run(self) -> TagResult:
        """Run to the end; the state file is deleted then.

        Raises:
            BatchFailed: The service could not read the input; `.batch.errors` names the lines.
        """
        resumed = bool(self._state.upload_id)
        batch = self._followed(self._begun())
        if batch.status == "failed":
            self._place.unlink(missing_ok=True)
            raise BatchFailed(batch)
        result = self._downloaded(batch, resumed=resumed)
        self._place.unlink(missing_ok=True)
        return result

    def _begun(self) -> Batch:
        """The batch of the run: the one that was made before, or a new one."""
        state = self._state
        if state.batch_id:
            with suppress(NotFound):  # its time is over: begin again
                return self._batches.get(state.batch_id)
            state.forget_upload()
        if state.file_id:
            try:
                self._files.get(state.file_id)
            except NotFound:
                state.forget_upload()
        if not state.file_id:
            state.file_id = self._uploaded()
            state.save(self._place)
        if not state.batch_key:
            state.batch_key = _http.new_key()
            state.save(self._place)  # before the call: a second one with the key is the same batch
        body = {**state.request, "input_file_id": state.file_id}
        batch = self._batches.create(body, key=state.batch_key)
        state.batch_id = batch.id
        state.save(self._place)
        return batch

    def _uploaded(self) -> str:
        upload = Upload(self._transport, self._source, self._state, self._place, self._on_progress)
        try:
            return upload.run()
        except (NotFound, Conflict):  # begun a day ago, or ended by another client
            self._state.forget_upload()
            return upload.run()

    def _followed(self, batch: Batch) -> Batch:
        for each in self._batches.follow(batch.id):
            batch = each
            counts, progress = batch.request_counts, batch.progress
            waits = progress.waiting_for
            self._on_progress(
                TagProgress(
                    phase="running",
                    done=counts.completed + counts.failed,
                    total=counts.total,
                    failed=counts.failed,
                    rate_per_s=progress.rate_per_s,
                    seconds_left=progress.seconds_left,
                    note=f"waits for {waits}" if waits else "",
                )
            )
        return batch

    def _downloaded(self, batch: Batch, *, resumed: bool) -> TagResult:
        state, counts = self._state, batch.request_counts
        self._on_progress(TagProgress(phase="downloading", done=counts.total, total=counts.total))
        output = errors = None
        groups = []
        if batch.output_file_id is not None:
            output = self._files.download(batch.output_file_id, state.output)
        if batch.error_file_id is not None:
            errors = self._files.download(batch.error_file_id, state.errors)
            groups = self._transport.runtime.run(tagging.failures, errors)
        return TagResult(
            batch_id=batch.id,
            status=batch.status,
            total=counts.total,
            completed=counts.completed,
            failed=counts.failed,
            failures=groups,
            output=None if output is None else str(output),
            errors=None if errors is None else str(errors),
            total_tokens=batch.usage.total_tokens if batch.usage else 0,
            resumed=resumed,
        )


def state_of(path: Path, fresh: TagState) -> TagState:
    """The state of an interrupted run with the same input, or a fresh one."""
    found = _tag_state.load(path)
    if found is None or found.input != fresh.input:
        return fresh
    return found
