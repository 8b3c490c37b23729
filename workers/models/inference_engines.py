"""Ways to run a model of sentence-transformers: OpenVINO or torch, in one precision each.

Each way gives a `Forward` over the same float32 module, and the fastest one that agrees with the
reference is taken; what agrees is decided by the callers, `workers.models.sentence_encoder` and
`workers.models.cross_encoder`.
"""

from __future__ import annotations

import copy
import logging
import sys
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from shared.errors import ConfigurationError
from workers.models.port import Rows

# OpenVINO reports each import and each conversion to its maker over the internet; without this
# package it takes a stub instead, as NNCF does. Nothing of ours calls home.
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]

logger = logging.getLogger("pigeonhole.models")

Engine = Literal["openvino", "torch"]
Precision = Literal["int8", "bfloat16", "float16", "float32"]
Forward = Callable[..., Rows]
"""Padded ids, attention mask and what else the module takes, (N, T) int64 each, to (N, D) rows."""
TEXT_INPUTS = ("input_ids", "attention_mask")

# What int8 leaves out runs in float32: in bfloat16 it was slower, 0.79 ms a text against 0.75.
_OPENVINO_HINTS = {"int8": "f32", "bfloat16": "bf16", "float16": "f16", "float32": "f32"}


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


def candidates(
    device: str, precision: Literal["auto"] | Precision, engine: Literal["auto"] | Engine
) -> list[tuple[Engine, Precision]]:
    """Engines and precisions to try, the fastest first."""
    engines: list[Engine] = ["openvino", "torch"] if engine == "auto" else [engine]
    if device != "cpu":
        engines = ["torch"]
    half = half_precision(device)
    precisions: list[Precision] = [precision] if precision != "auto" else ["float32"]
    if precision == "auto" and half is not None:
        precisions = [half, "float32"]
    return [(engine, precision) for precision in precisions for engine in engines]


def fastest(
    name: str,
    module: torch.nn.Module,
    choices: Sequence[tuple[Engine, Precision]],
    *,
    device: str,
    threads: int,
    agrees: Callable[[Forward, Precision], tuple[bool, str]],
    inputs: Sequence[str] = TEXT_INPUTS,
    int8: Path | None = None,
) -> tuple[Forward, Precision]:
    """The first candidate that agrees with the reference.

    Args:
        name: the model's name in the catalogue.
        module: in float32 on the device.
        choices: candidates, the fastest first.
        device: of torch.
        threads: of a CPU.
        agrees: tries a candidate, and says how far it agrees.
        inputs: names of the module's inputs, in the order of the arguments of `Forward`.
        int8: the module in int8 (`workers.models.int8_model`), which is tried first.

    Raises:
        ConfigurationError: None agrees.
    """
    first: list[tuple[Engine, Precision]] = [] if int8 is None else [("openvino", "int8")]
    for engine, precision in [*first, *choices]:
        try:
            if engine == "openvino":
                forward = openvino_forward(module, precision, threads, inputs, stored=int8)
            else:
                forward = torch_forward(module, precision, device, threads)
            agreed, reason = agrees(forward, precision)
        except Exception as error:  # noqa: BLE001 - a converter may raise anything; the next engine stands in
            reason = f"{type(error).__name__}: {str(error).strip().splitlines()[:1]}"
        else:
            if agreed:
                what = f"{engine} {precision} on {device}, {threads} threads"
                logger.info("%s runs by %s; %s", name, what, reason)
                return forward, precision
        logger.warning("%s does not run by %s %s (%s)", name, engine, precision, reason)
    raise ConfigurationError(f"No inference engine reproduces the outputs of the model {name}.")


def converted(module: torch.nn.Module, inputs: Sequence[str] = TEXT_INPUTS) -> Any:
    """A module as a model of OpenVINO, in memory: 1.4 s for MiniLM."""
    import openvino  # an extra second of start, and on some platforms there is no wheel

    example = torch.ones(2, 8, dtype=torch.int64)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # tracing warns of every branch it passes
        return openvino.convert_model(module, example_input=dict.fromkeys(inputs, example))


def openvino_forward(
    module: torch.nn.Module,
    precision: Precision,
    threads: int,
    inputs: Sequence[str] = TEXT_INPUTS,
    *,
    stored: Path | None = None,
) -> Forward:
    """Compile a module for the CPU; for int8 what was made of it and is `stored`."""
    import openvino

    core = openvino.Core()
    model = core.read_model(stored) if precision == "int8" else converted(module, inputs)
    compiled = core.compile_model(
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

    def forward(*arrays: object) -> Rows:
        # Shared inputs only: a copying call after a shared one fails on a larger shape.
        rows = request.infer(dict(zip(inputs, arrays, strict=True)), share_inputs=True)[0]
        return np.asarray(rows, np.float32)

    return forward


def torch_forward(
    module: torch.nn.Module, precision: Precision, device: str, threads: int
) -> Forward:
    """Run the module itself, or a copy of it in half precision."""
    if device == "cpu":
        torch.set_num_threads(threads)
    if precision != "float32":
        module = copy.deepcopy(module).to(getattr(torch, precision))

    def forward(*arrays: Any) -> Rows:
        with torch.inference_mode():
            rows = module(*(torch.from_numpy(each).to(device) for each in arrays))
        return np.asarray(rows.cpu().numpy(), np.float32)

    return forward
