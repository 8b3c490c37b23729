"""Models of sentence-transformers with int8 weights and activations, made by NNCF for OpenVINO.

`pigeonhole-server models optimise` makes one, once per model and machine, and keeps it in a folder.
Workers read it there. It is measured against the model in float32 on texts that did not calibrate
it, and is only kept if it agrees and is the faster one.

Importing this module imports torch and OpenVINO, which take seconds.
"""

from __future__ import annotations

import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from shared.errors import ConfigurationError
from workers.cpu_quota import usable_cores
from workers.models import sentence_encoder
from workers.models.calibration_texts import calibration_texts
from workers.models.inference_engines import (
    Forward,
    Pipeline,
    Precision,
    converted,
    half_precision,
    openvino_forward,
)
from workers.models.port import Rows
from workers.models.tokenizer import WindowTokenizer

MIN_MEAN_COSINE = 0.993
MIN_COSINE = 0.95
MIN_SPEEDUP = 1.1
_CALIBRATION_TEXTS = 300
_CHECK_TEXTS = 128
_SMOOTHING = 0.7
"""Of SmoothQuant. Zero-shot macro-F1 of MiniLM on 1,000 texts of each of four public sets, against
float32, mean and worst: -0.2 and -1.0 with 0.7; -0.8 and -1.2 with 0.8; -0.5 and -1.2 with 0.9."""
_BATCH = 32
_ROUNDS = 3


@dataclass(frozen=True, kw_only=True)
class Int8Report:
    """What was measured: cosines with float32, and seconds of the same texts."""

    path: Path
    mean_cosine: float
    min_cosine: float
    int8_s: float
    usual_s: float
    usual: Precision

    @property
    def speedup(self) -> float:
        """How many times as fast as the precision that the worker takes without it."""
        return self.usual_s / self.int8_s


def path_of(folder: Path, name: str, revision: str) -> Path:
    """Where the graph of the int8 version of a model lies, beside its weights, if it was made."""
    return folder / f"{name.replace('/', '--')}-{revision}" / "model.xml"


def make(checkpoint: str, *, name: str, folder: Path) -> Int8Report:
    """Quantise a checkpoint, measure it, and keep it.

    Args:
        checkpoint: a folder, or a name of the hub whose files are on this machine.
        name: the model's name in the catalogue.
        folder: of int8 models; it is made.

    Raises:
        ConfigurationError: NNCF is not installed; or the int8 model does not agree, or is not
            faster, and was not kept.
    """
    try:
        import nncf
        import openvino
    except ImportError as exc:
        raise ConfigurationError(
            f"the package {exc.name} is not installed, which makes int8 models; "
            "run: pip install nncf"
        ) from exc
    with sentence_encoder.quiet():
        model = sentence_encoder.local_model(checkpoint)
        tokeniser = WindowTokenizer(model.tokenizer)
        window = int(model.max_seq_length or 512) - tokeniser.specials
        pipeline = Pipeline(model, int(model.get_sentence_embedding_dimension() or 0)).eval()
        texts = calibration_texts(_CALIBRATION_TEXTS + _CHECK_TEXTS)
        windows = [ids[:window] for ids in tokeniser(texts)]

        def inputs(ids: Sequence[int]) -> dict[str, Any]:
            padded = tokeniser.pad([ids])
            return {"input_ids": padded[0], "attention_mask": padded[1]}

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            quantised = nncf.quantize(
                converted(pipeline),
                nncf.Dataset(windows[:_CALIBRATION_TEXTS], inputs),
                model_type=nncf.ModelType.TRANSFORMER,
                subset_size=_CALIBRATION_TEXTS,
                advanced_parameters=nncf.AdvancedQuantizationParameters(
                    smooth_quant_alphas=nncf.AdvancedSmoothQuantParameters(matmul=_SMOOTHING)
                ),
            )
        path = path_of(folder, name, sentence_encoder.revision_of(checkpoint, None))
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder, ignore_cleanup_errors=True) as begun:
            graph = Path(begun, "new", path.name)
            openvino.save_model(quantised, graph, compress_to_fp16=False)
            report = _measured(pipeline, graph, path, tokeniser, windows[_CALIBRATION_TEXTS:])
            _refuse_if_worse(name, report)
            # Graph and weights change at once. A worker that looks in between finds none.
            if path.parent.exists():
                path.parent.rename(Path(begun, "old"))
            graph.parent.rename(path.parent)
    return report


def _refuse_if_worse(name: str, report: Int8Report) -> None:
    """Raise ConfigurationError where an int8 model is not to be kept."""
    if report.mean_cosine < MIN_MEAN_COSINE or report.min_cosine < MIN_COSINE:
        raise ConfigurationError(
            f"the model {name} loses too much in int8 and stays as it is: cosine with float32 "
            f"{report.mean_cosine:.4f} on average and {report.min_cosine:.4f} at least; "
            f"{MIN_MEAN_COSINE} and {MIN_COSINE} are needed"
        )
    if report.speedup < MIN_SPEEDUP:
        raise ConfigurationError(
            f"the model {name} is not faster in int8 on this CPU and stays as it is: "
            f"{report.speedup:.2f} times the speed of {report.usual}; {MIN_SPEEDUP} is needed"
        )


def _measured(
    pipeline: Pipeline,
    graph: Path,
    path: Path,
    tokeniser: WindowTokenizer,
    windows: Sequence[Sequence[int]],
) -> Int8Report:
    """Both precisions on the same texts, in turns."""
    usual: Precision = half_precision("cpu") or "float32"
    threads = usable_cores()
    int8 = openvino_forward(pipeline, "int8", threads, stored=graph)
    other = openvino_forward(pipeline, usual, threads)
    exact = other if usual == "float32" else openvino_forward(pipeline, "float32", threads)
    ordered = sorted(windows, key=len)

    def rows(forward: Forward) -> Rows:
        batches = (ordered[i : i + _BATCH] for i in range(0, len(ordered), _BATCH))
        return np.concatenate([forward(*tokeniser.pad(batch)) for batch in batches])

    cosines = (rows(int8) * rows(exact)).sum(axis=1)
    rows(other)
    took = [(_seconds(lambda: rows(int8)), _seconds(lambda: rows(other))) for _ in range(_ROUNDS)]
    int8_s, usual_s = (min(column) for column in zip(*took, strict=True))
    return Int8Report(
        path=path,
        mean_cosine=float(cosines.mean()),
        min_cosine=float(np.nan_to_num(cosines, nan=-1.0).min()),
        int8_s=int8_s,
        usual_s=usual_s,
        usual=usual,
    )


def _seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began
