"""The client: one object that holds the connections to a service."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self, Unpack

import httpx

from pigeonhole_client import _http
from pigeonhole_client._async import classify
from pigeonhole_client._async.batches import AsyncBatches
from pigeonhole_client._async.resources import (
    AsyncClassifiers,
    AsyncFiles,
    AsyncJobs,
    AsyncModels,
    segment,
)
from pigeonhole_client._async.retraining import AsyncRetraining
from pigeonhole_client._async.transport import AsyncTransport
from pigeonhole_client._config import address
from pigeonhole_client._http import ApiCall, Form, OnWait
from pigeonhole_client._requests import (
    CallOptions,
    Example,
    Item,
    Labels,
    PathLike,
    as_path,
    example_list,
    form_fields,
    given,
)
from pigeonhole_client.frames import Frame
from pigeonhole_client.types import Classifications, Evaluation, Training


class AsyncPigeonhole:
    """A client of one service. Close it, or use it as a context manager.

    Args:
        base_url: Of the service; else `PIGEONHOLE_URL`, else that of `pigeonhole login`.
        api_key: Else `PIGEONHOLE_API_KEY`, else that of `pigeonhole login`.
        timeout_s: Longest wait for an answer.
        patience_s: How long a service that is away or busy is waited for, a request. `Retry-After`
            is honoured; a request that changes something is done once however often it is sent.
        on_wait: Called before each such wait with the seconds and the reason.
        http: A client of httpx to use, for example with a proxy or a certificate of your own.

    Raises:
        ConfigurationError: No URL or no key is given.
    """

    def __init__(
        self,
        base_url: str | None = None,
        api_key: str | None = None,
        *,
        timeout_s: float = 60.0,
        patience_s: float = 60.0,
        on_wait: OnWait | None = None,
        http: httpx.AsyncClient | None = None,
    ) -> None:
        self._transport = AsyncTransport(
            address(base_url, api_key),
            timeout_s=timeout_s,
            patience_s=patience_s,
            on_wait=on_wait,
            http=http,
        )
        self.jobs = AsyncJobs(self._transport)
        self.batches = AsyncBatches(self._transport)
        self.classifiers = AsyncClassifiers(self._transport)
        self.files = AsyncFiles(self._transport)
        self.models = AsyncModels(self._transport)
        self.retraining = AsyncRetraining(self._transport)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the connections."""
        await self._transport.aclose()

    async def classify(
        self,
        inputs: Item | Iterable[Item],
        labels: Labels | None = None,
        *,
        classifier: str | None = None,
        **options: Unpack[CallOptions],
    ) -> Classifications:
        """Classify texts, images or documents by labels, or by a classifier.

        Any number of inputs: they are sent in several requests, several at once, and the entries of
        the answer are in their order. For files of rows there is `batches.tag`.

        Args:
            inputs: A text, `{"image": …}` or `{"file": …}`, or many; a Series of pandas or polars.
            labels: Labels, or several questions by name.
            classifier: Id, name, `name@v3` or `name@alias` of a classifier, instead of labels.
            options: See `CallOptions`.

        Raises:
            BadRequest: An input or label is wrong; `input[7]` in the message is `inputs[7]`.
            ApiError, ConnectionFailed: The service refuses, or is away.
        """
        return await classify.classify(self._transport, inputs, labels, classifier, options)

    async def classify_frame(
        self,
        frame: Frame,
        labels: Labels | None = None,
        *,
        classifier: str | None = None,
        text_column: str = "text",
        **options: Unpack[CallOptions],
    ) -> Frame:
        """A frame of pandas or polars with the columns `prediction` and `score`.

        Rows without a text get None. For very many rows there is `batches.tag_frame`.
        """
        return await classify.classify_frame(
            self._transport, frame, labels, classifier, text_column, options
        )

    async def train(
        self,
        examples: PathLike | Iterable[Example] | Any,
        *,
        classifier: str | None = None,
        name: str | None = None,
        model: str | None = None,
        num_iters: int | None = None,
        access: str | None = None,
        description: str | None = None,
        keep_examples: bool | None = None,
        closed_labels: bool | None = None,
        observe: bool | None = None,
        start: str | None = None,
        candidate: bool | None = None,
        metadata: dict[str, str] | None = None,
        text_column: str | None = None,
        label_column: str | None = None,
    ) -> Training:
        """Make a classifier out of examples, or go on with one.

        Args:
            examples: Pairs of text and label, mappings with `text` or `image` and `label`, a frame
                of pandas or polars, or the path of a CSV, JSONL or Parquet file.
            classifier: The classifier to go on with; without it a new one is made.
            name, model, access, description, keep_examples, closed_labels, observe: Of a new one.
            start: The version to go on with, such as `spam@champion`; the latest if absent.
            candidate: Make a version that is not the latest.
            num_iters: How often each example is gone over.
            metadata: Of the job; short texts by name.
            text_column, label_column: Of a file or a frame; `text` and `label` if absent.

        Raises:
            JobFailed: The training failed; `.job.error` says why.
            ApiError, ConnectionFailed: The service refuses, or is away.
        """
        fields = given(
            classifier_id=classifier,
            name=name,
            model=model,
            num_iters=num_iters,
            access=access,
            description=description,
            keep_examples=keep_examples,
            closed_labels=closed_labels,
            observe=observe,
            candidate=candidate,
            metadata=metadata,
            **{"from": start},
        )
        columns = {"text_column": text_column, "label_column": label_column}
        call = await self._with_examples("/v1/train", examples, fields, columns)
        return await self.jobs.outcome(Training, call)

    async def evaluate(
        self,
        classifier: str,
        examples: PathLike | Iterable[Example] | Any,
        *,
        text_column: str | None = None,
        label_column: str | None = None,
    ) -> Evaluation:
        """Judge a classifier by labelled examples, given as for `train`."""
        columns = {"text_column": text_column, "label_column": label_column}
        path = f"/v1/classifiers/{segment(classifier)}/evaluate"
        call = await self._with_examples(path, examples, {}, columns)
        return await self.jobs.outcome(Evaluation, call)

    async def _with_examples(
        self,
        path: str,
        examples: Any,
        fields: Mapping[str, Any],
        columns: Mapping[str, str | None],
    ) -> ApiCall:
        """The call, as a job, with the examples in its body or as a file."""
        headers = {"Prefer": "respond-async"}
        key = _http.new_key()
        source = as_path(examples)
        if source is None:
            body = {**fields, "input": example_list(examples, **columns)}
            return ApiCall(method="POST", path=path, body=body, headers=headers, key=key)
        content = await self._transport.runtime.run(Path(source).read_bytes)

        def form() -> Form:
            return {"file": (source.name, content)}

        return ApiCall(
            method="POST",
            path=path,
            fields=form_fields({**fields, **columns}),
            form=form,
            headers=headers,
            key=key,
        )
