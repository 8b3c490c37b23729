"""The one table of settings: name, type, default, unit and a sentence, read once by a main.

Every setting is an environment variable `PIGEONHOLE_<NAME>`. The table of
`docs/reference/settings.md` is generated from here (`pigeonhole settings`). A variable with the
prefix that is not in the table stops the start, unless it is one of the client's, which may be set
in the same shell.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, Self, get_args, get_origin, get_type_hints

from shared.cors_origins import origins_of
from shared.errors import ConfigurationError
from shared.url_policy import networks_of, ports_of

PREFIX = "PIGEONHOLE_"
# What pigeonhole-client reads: a user of both has them in the environment of the service, too.
CLIENT_VARIABLES = frozenset({f"{PREFIX}URL", f"{PREFIX}API_KEY"})
# Never `//host`, which a browser reads as another host; no dots that it would resolve away.
_PATH_PREFIX = re.compile(r"(?:/(?!\.\.?(?:/|$))[A-Za-z0-9._~-]{1,64}){1,8}")
_OWN_PATHS = {"v1", "docs", "errors", "health", "metrics", "openapi.json"}
_WILDCARDS = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}
_MAX_DURATION_S = 36_525 * 86_400  # times are dates too, which end with the year 9999


def _setting(default: Any, about: str, *, secret: bool = False, least: float | None = None) -> Any:
    return field(default=default, metadata={"about": about, "secret": secret, "least": least})


class Bytes(int):
    """A number of bytes. Its text may have a unit: of 1000 (`2GB`) or of 1024 (`1.5GiB`).

    >>> Bytes("1.5GiB"), Bytes("2GB"), Bytes("512")
    (1610612736, 2000000000, 512)
    """

    def __new__(cls, value: int | str) -> Self:
        """Read a text; ValueError where it is no size."""
        if isinstance(value, str):
            size = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(?:([KMGT])(i?)B)?\s*", value, re.I | re.A)
            if size is None:
                raise ValueError(value)
            number, unit, binary = size.groups()
            power = "KMGT".index(unit.upper()) + 1 if unit else 0
            value = int(float(number) * (1024 if binary else 1000) ** power) if unit else int(value)
        return super().__new__(cls, value)


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What the operator decides; every field has a default that works on one machine."""

    # Where the service is found, and where it keeps things
    host: str = _setting("127.0.0.1", "Address the API listens on.")
    port: int = _setting(8080, "Port the API listens on.", least=1)
    data_dir: Path = _setting(
        Path("data"), "Directory of the embedded launcher: objects, Redis, key."
    )
    redis_url: str = _setting(
        "", "Redis server, `redis://…`; empty: the launcher starts one.", secret=True
    )
    object_store: str = _setting(
        "", "`file:///path` or `s3://bucket/prefix`; empty: `objects` in the data directory."
    )
    s3_endpoint: str = _setting("", "URL of an S3-compatible server; empty: AWS.")
    s3_region: str = _setting("us-east-1", "Region of the bucket.")
    s3_access_key: str = _setting(
        "", "Access key of the bucket; empty: what boto3 finds.", secret=True
    )
    s3_secret_key: str = _setting("", "Secret key of the bucket.", secret=True)

    # Models
    catalogue: str = _setting("", "TOML file with more models (see `shared/model_catalogue.toml`).")
    default_model: str = _setting("all-MiniLM-L6-v2", "Model used where a request names none.")
    text_fallback: bool = _setting(
        True,
        "Texts under an alias of an image model that no worker holds get the default model.",
    )
    models: str = _setting(
        "", "Models on offer, comma-separated; empty: those of the catalogue that are installed."
    )
    allow_downloads: bool = _setting(False, "Let workers download missing models from their hub.")
    device: Literal["auto", "cpu", "cuda"] = _setting(
        "auto", "Device of a worker, and so its queues and models."
    )
    cpu_engine: Literal["auto", "openvino", "torch"] = _setting(
        "auto", "How a CPU worker runs a model."
    )
    batch_tokens: int = _setting(
        0,
        "Tokens of one forward pass, padding included; 0: 1024 on a CPU, measured on a GPU.",
        least=0,
    )

    # The front end
    api_processes: int = _setting(1, "Processes of the API.", least=1)
    api_threads: int = _setting(
        96, "Threads of one API process; each waiting call holds one.", least=24
    )
    header_timeout_s: float = _setting(
        15.0,
        "Longest wait for the headers of the next request; an idle connection is closed after it.",
        least=1,
    )
    body_timeout_s: float = _setting(
        15.0,
        "Longest pause in a request body; a small one must be there after it, a large one must "
        "come at 32 KiB/s at least.",
        least=0.1,
    )
    answer_timeout_s: float = _setting(
        30.0, "The same for a client that reads its answer.", least=0.1
    )
    max_address_connections: int = _setting(
        8192, "Most connections of one client address with an API process.", least=16
    )
    max_address_requests: int = _setting(
        1024, "Most requests of one client address that an API process answers at once.", least=1
    )
    max_bodies_bytes: int = _setting(
        64 * 2**20,
        "Most bytes of request bodies above 64 KiB that an API process holds at once.",
        least=1024,
    )
    upload_threads: int = _setting(16, "Files that one API process takes at once.", least=1)
    request_timeout_s: float = _setting(30.0, "Longest wait of a synchronous call.", least=0.1)
    max_waiting: int = _setting(
        1024, "Synchronous calls that may wait in one queue; accounts share it evenly.", least=1
    )
    path_prefix: str = _setting(
        "", "Path under which a proxy publishes the API, such as `/classify`; empty: none."
    )
    trusted_proxies: str = _setting(
        "",
        "Addresses and networks whose `X-Forwarded-*` headers are believed: `10.1.0.0/16,::1`.",
    )
    allowed_origins: str = _setting(
        "",
        "Origins whose pages may call the API from a browser, such as "
        "`https://app.example.org`, comma-separated; `*`: all; empty: none.",
    )
    key_cache_s: float = _setting(
        10.0, "How long the API trusts a key it has read; a revoked key dies within it.", least=0
    )

    # Limits of one request
    max_body_bytes: Bytes = _setting(32 * 2**20, "Largest request body.", least=1024)
    max_inputs: int = _setting(1024, "Most inputs of one request.", least=1)
    max_labels: int = _setting(256, "Most labels of one question.", least=2)
    max_groups: int = _setting(8, "Most label groups of one request.", least=1)
    max_label_chars: int = _setting(256, "Longest label, in characters.", least=1)
    max_description_chars: int = _setting(
        2000, "Longest description or template, in characters.", least=1
    )
    max_input_tokens: int = _setting(8192, "Most tokens of one input.", least=1)
    max_label_tokens: int = _setting(
        16384, "Most tokens of the labels and descriptions of one question.", least=64
    )

    max_examples: int = _setting(50_000, "Most examples of one train or evaluate call.", least=1)
    max_num_iters: int = _setting(100, "Most iterations over one example.", least=1)

    # Classifiers
    max_classifiers: int = _setting(1000, "Most classifiers of one account.", least=1)
    max_classifier_labels: int = _setting(1024, "Most labels of one classifier.", least=2)
    versions_kept: int = _setting(
        20, "Versions of a classifier that are kept, beside those that an alias names.", least=1
    )
    max_import_bytes: Bytes = _setting(
        256 * 2**20, "Largest file of weights that is imported.", least=1024
    )

    # Files and batches
    max_file_bytes: Bytes = _setting(5 * 2**30, "Largest uploaded file.", least=1024)
    file_keep_s: float = _setting(30 * 86400.0, "How long an uploaded file is kept.", least=60)
    max_row_bytes: Bytes = _setting(4 * 2**20, "Longest row of a batch's file.", least=1024)
    s3_inputs: str = _setting(
        "", "Where batches may read from: `s3://bucket/prefix/`, comma-separated; empty: nowhere."
    )
    s3_outputs: str = _setting(
        "", "Where batches may write to: `s3://bucket/prefix/`, comma-separated; empty: nowhere."
    )
    account_parts: int = _setting(
        64, "Most parts of one account's batches under way in one queue.", least=1
    )

    # URLs that requests and webhooks name
    fetch_timeout_s: float = _setting(10.0, "Longest wait for the whole of a URL.", least=0.1)
    fetch_networks: str = _setting(
        "", "Networks that URLs may lead to although not public: `10.1.0.0/16,fd00::/8`."
    )
    fetch_ports: str = _setting("", "Ports that URLs may name beside 80 and 443: `8080,8443`.")
    max_image_bytes: Bytes = _setting(8 * 2**20, "Largest image.", least=1024)
    max_document_bytes: Bytes = _setting(32 * 2**20, "Largest document.", least=1024)
    decoders: int = _setting(
        0, "Child processes of a worker that read images and documents; 0: one more than cores."
    )
    decoder_bytes: Bytes = _setting(
        2**30, "Most memory to read one image, document or Parquet file.", least=2**26
    )
    decode_limit_s: float = _setting(
        10.0,
        "Longest that one image or document may take to read, in processor time, or the next rows "
        "of a Parquet file.",
        least=0.1,
    )
    max_images: int = _setting(20, "Most images of one item.", least=1)
    max_pages: int = _setting(20, "Most pages read of one document.", least=1)
    max_document_tokens: int = _setting(
        1_000_000, "Most tokens of the text of one document.", least=1
    )

    # Jobs
    result_keep_s: float = _setting(
        7 * 86400.0, "How long a job and its result are kept after its start.", least=60
    )
    idempotency_keep_s: float = _setting(
        86400.0, "How long an Idempotency-Key is remembered.", least=60
    )
    inline_result_bytes: Bytes = _setting(
        256 * 1024, "Larger results are given by URL in a job object.", least=0
    )
    lease_s: float = _setting(10.0, "How long a silent worker keeps a part.", least=1)
    max_attempts: int = _setting(5, "Attempts of a part before its job fails.", least=1)
    forward_limit_s: float = _setting(
        120.0, "A forward pass longer than this ends the worker.", least=1
    )
    worker_memory: Bytes = _setting(
        0,
        "Memory above which a worker finishes what it runs and is replaced, such as `3GB`; 0: 80 % "
        "of its container's limit, if there is one.",
        least=0,
    )
    stop_grace_s: float = _setting(
        25.0, "How long a stopping worker may finish what it runs.", least=2
    )

    # Operation
    redis_timeout_s: float = _setting(2.0, "Longest wait for an answer of Redis.", least=1.5)
    store_timeout_s: float = _setting(
        5.0, "Longest wait for an answer of the object store.", least=0.1
    )
    audit_s: float = _setting(
        60.0, "How often the keeper compares open jobs on the store with Redis.", least=1
    )
    metrics_port: int = _setting(
        0, "Port of a worker's or keeper's own /metrics; 0: none.", least=0
    )
    log_level: Literal["debug", "info", "warning", "error"] = _setting(
        "info", "Least level that is logged."
    )

    @classmethod
    def from_env(cls, env: Mapping[str, str]) -> Settings:
        """Read and check the environment.

        Raises:
            ConfigurationError: An unknown variable with our prefix that is not one of the client's
                (names the nearest known one), or a value of the wrong type or range.
        """
        known = {PREFIX + f.name.upper(): f for f in fields(cls)}
        hints = get_type_hints(cls)
        values: dict[str, Any] = {}
        for variable in sorted(v for v in env if v.startswith(PREFIX)):
            if variable in CLIENT_VARIABLES:
                continue
            if variable not in known:
                near = difflib.get_close_matches(variable, known, n=1, cutoff=0)
                raise ConfigurationError(f"{variable} is not a setting; did you mean {near[0]}?")
            entry = known[variable]
            values[entry.name] = _parse(
                variable, env[variable], hints[entry.name], entry.metadata["least"]
            )
        settings = cls(**values)
        networks_of(settings.fetch_networks)  # a wrong one stops the start
        ports_of(settings.fetch_ports)
        networks_of(settings.trusted_proxies, variable=f"{PREFIX}TRUSTED_PROXIES")
        origins_of(settings.allowed_origins)
        if settings.path_prefix and not is_path_prefix(settings.path_prefix):
            raise ConfigurationError(
                f"{PREFIX}PATH_PREFIX is {settings.path_prefix!r}; it must begin with / and not "
                "end with it, be of letters, digits and . _ ~ -, and not begin with a path of the "
                "API itself, such as /v1"
            )
        return settings

    @property
    def local_host(self) -> str:
        """The host by which a process on this machine reaches the API."""
        return _WILDCARDS.get(self.host, self.host)

    @property
    def store_url(self) -> str:
        """The object store, with its default worked out."""
        return self.object_store or (self.data_dir / "objects").absolute().as_uri()


def is_path_prefix(text: str) -> bool:
    """Whether a text can stand before all paths of the API in a URL.

    >>> [is_path_prefix(text) for text in ("/a", "/a/b-c", "a", "/", "//a", "/a/", "/a/..", "/v1")]
    [True, True, False, False, False, False, False, False]
    """
    return bool(_PATH_PREFIX.fullmatch(text)) and text.split("/")[1] not in _OWN_PATHS


def _parse(variable: str, text: str, kind: Any, least: float | None) -> Any:
    """The value of one variable.

    Raises:
        ConfigurationError: It is not of the kind, or below the least allowed.
    """
    if get_origin(kind) is Literal:
        if text not in get_args(kind):
            raise ConfigurationError(
                f"{variable} is {text!r}; it must be one of {', '.join(get_args(kind))}"
            )
        return text
    if kind is bool:
        if text.lower() not in {"1", "0", "true", "false", "yes", "no"}:
            raise ConfigurationError(f"{variable} is {text!r}; it must be true or false")
        return text.lower() in {"1", "true", "yes"}
    try:
        value = kind(text)
    except ValueError:
        raise ConfigurationError(
            f"{variable} is {text!r}; it must be of type {kind.__name__}"
        ) from None
    if least is not None and not value >= least:
        raise ConfigurationError(f"{variable} is {text}; it must be at least {least:g}")
    if isinstance(value, float) and value == float("inf"):
        raise ConfigurationError(f"{variable} is {text}; it must be finite")
    if variable.endswith("_S") and value > _MAX_DURATION_S:
        raise ConfigurationError(
            f"{variable} is {text}; it must be at most {_MAX_DURATION_S} seconds (100 years)"
        )
    return value


def table() -> str:
    """The settings as a Markdown table, for `docs/reference/settings.md`."""
    hints = get_type_hints(Settings)
    rows = ["| variable | type | default | what it says |", "| --- | --- | --- | --- |"]
    for entry in fields(Settings):
        hint = hints[entry.name]
        kind = (
            " \\| ".join(get_args(hint)) if get_origin(hint) is Literal else hint.__name__.lower()
        )
        assert entry.default is not MISSING
        default = f"`{entry.default}`" if str(entry.default) else "empty"
        secret = " (secret)" if entry.metadata["secret"] else ""
        name, about = PREFIX + entry.name.upper(), entry.metadata["about"]
        rows.append(f"| `{name}` | {kind} | {default} | {about}{secret} |")
    return "\n".join(rows)
