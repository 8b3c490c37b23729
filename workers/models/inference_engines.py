"""Ways to run a sentence-transformers pipeline: OpenVINO or torch, in one precision each.

Each function here gives a `Forward` over the same float32 pipeline; whether its vectors are good
enough is decided in `workers.models.sentence_encoder`.
"""

from __future__ import annotations

import copy
import sys
import warnings
from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import torch

from workers.models.port import Rows
from workers.models.tokenizer import Ids

Engine = Literal["openvino", "torch"]
Precision = Literal["bfloat16", "float16", "float32"]
Forward = Callable[[Ids, Ids], Rows]
"""Padded ids and attention mask, (N, T) each, to (N, D) unit rows."""

_OPENVINO_HINTS = {"bfloat16": "bf16", "float16": "f16", "float32": "f32"}


class Pipeline(torch.nn.Module):
    """All modules of a SentenceTransformer (transformer, pooling, dense, …) as ids → unit rows."""

    def __init__(self, model: Any, dimensions: int) -> None:
        super().__init__()
        self.model = model
        self.dimensions = dimensions

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        """(N, T) and (N, T) to (N, D) float32."""
        features = {"input_ids": input_ids, "attention_mask": attention_mask}
        vectors = self.model(features)["sentence_embedding"].float()
        return torch.nn.functional.normalize(vectors[:, : self.dimensions], dim=1)


def half_precision(device: str) -> Precision | None:
    """The half precision that the device computes faster than float32, if any."""
    if device != "cpu":
        return "float16"
    # avx512_bf16 and amx_bf16 on x86, bf16 on ARM
    able = any(able for name, able in torch.cpu.get_capabilities().items() if "bf16" in name)
    return "bfloat16" if able else None


def openvino_forward(pipeline: Pipeline, precision: Precision, threads: int) -> Forward:
    """Convert the pipeline in memory (1.4 s for MiniLM) and compile it for the CPU."""
    # Its converter reports each use to its maker over the internet; without this package it
    # takes a stub instead. Nothing of ours calls home.
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    import openvino  # an extra second of start, and on some platforms there is no wheel

    example = torch.ones(2, 8, dtype=torch.int64)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # tracing warns of every branch it passes
        model = openvino.convert_model(
            pipeline, example_input={"input_ids": example, "attention_mask": example}
        )
    compiled = openvino.Core().compile_model(
        model,
        "CPU",
        {
            "INFERENCE_PRECISION_HINT": _OPENVINO_HINTS[precision],
            "PERFORMANCE_HINT": "LATENCY",  # one stream over all threads: one batch at a time
            "INFERENCE_NUM_THREADS": threads,
            # Pinning gains nothing (989 against 999 texts/s), and two pinned processes on one
            # machine would share the same cores.
            "ENABLE_CPU_PINNING": False,
            # It keeps what it compiled for each shape of a batch, 5000 of them by default: 0.35 MB
            # a shape, with no end in sight. With 128 a worker grows by half as much over 250 random
            # shapes (63 MB instead of 97), at the same rate (6,377 against 6,168 tokens/s).
            "CPU_RUNTIME_CACHE_CAPACITY": 128,
        },
    )
    request = compiled.create_infer_request()

    def forward(ids: Ids, mask: Ids) -> Rows:
        # Shared inputs only: a copying call after a shared one fails on a larger shape.
        rows = request.infer({"input_ids": ids, "attention_mask": mask}, share_inputs=True)[0]
        return np.asarray(rows, np.float32)

    return forward


def torch_forward(pipeline: Pipeline, precision: Precision, device: str, threads: int) -> Forward:
    """Run the pipeline itself, or a copy of it in half precision."""
    if device == "cpu":
        torch.set_num_threads(threads)
    if precision != "float32":
        pipeline = copy.deepcopy(pipeline).to(getattr(torch, precision))

    def forward(ids: Ids, mask: Ids) -> Rows:
        with torch.inference_mode():
            rows = pipeline(torch.from_numpy(ids).to(device), torch.from_numpy(mask).to(device))
        return np.asarray(rows.cpu().numpy(), np.float32)

    return forward
