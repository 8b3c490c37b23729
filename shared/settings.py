"""The settings of the service: name, type, default, unit and description, read once by a main.

Every setting is an environment variable `PIGEONHOLE_<NAME>`. The table of
`docs/reference/settings.md` is generated from here (`pigeonhole-server settings`). An unknown
variable with the prefix stops the start, except for the variables of the client, which may be set
in the same shell.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

from shared.cors_origins import origins_of
from shared.errors import ConfigurationError
from shared.setting_values import Bytes, parse
from shared.url_policy import networks_of, ports_of

PREFIX = "PIGEONHOLE_"
# Variables of pigeonhole-client: a user of both has them in the service's environment, too.
CLIENT_VARIABLES = frozenset({f"{PREFIX}URL", f"{PREFIX}API_KEY"})
# Never `//host`, which a browser reads as another host; no dots that a browser would resolve.
_PATH_PREFIX = re.compile(r"(?:/(?!\.\.?(?:/|$))[A-Za-z0-9._~-]{1,64}){1,8}")
_OWN_PATHS = {"v1", "docs", "errors", "health", "metrics", "openapi.json"}
_WILDCARDS = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}
RENAMED = {
    "BATCH_TOKENS": "MICROBATCH_TOKENS",
    "FORWARD_LIMIT_S": "FORWARD_PASS_LIMIT_S",
    "MAX_WAITING": "MAX_QUEUED_CALLS",
    "ACCOUNT_PARTS": "MAX_ACCOUNT_PARTS",
    "STOP_GRACE_S": "SHUTDOWN_GRACE_S",
    "ANSWER_TIMEOUT_S": "RESPONSE_TIMEOUT_S",
    "FILE_KEEP_S": "FILE_RETENTION_S",
    "RESULT_KEEP_S": "RESULT_RETENTION_S",
    "IDEMPOTENCY_KEEP_S": "IDEMPOTENCY_RETENTION_S",
}
"""Settings of version 0.1 with their new names. The old names are refused."""


def _setting(
    default: Any, about: str, *, secret: bool = False, minimum: float | None = None
) -> Any:
    return field(default=default, metadata={"about": about, "secret": secret, "minimum": minimum})


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The configuration by the operator; every field has a default for one machine."""

    # Addresses and storage
    host: str = _setting("127.0.0.1", "Address on which the API listens.")
    port: int = _setting(8080, "Port on which the API listens.", minimum=1)
    data_dir: Path = _setting(
        Path("data"), "Data directory of the launcher: objects, Redis and the first key."
    )
    redis_url: str = _setting(
        "",
        "URL of the Redis server: `redis://…`, `rediss://…` or `redis+sentinel://…`; empty: the "
        "launcher starts one.",
        secret=True,
    )
    object_store: str = _setting(
        "", "`file:///path` or `s3://bucket/prefix`; empty: `objects` in the data directory."
    )
    s3_endpoint: str = _setting("", "URL of an S3-compatible server; empty: AWS.")
    s3_region: str = _setting("us-east-1", "Region of the bucket.")
    s3_access_key: str = _setting(
        "", "Access key of the bucket; empty: the credentials that boto3 finds.", secret=True
    )
    s3_secret_key: str = _setting("", "Secret key of the bucket.", secret=True)
    s3_addressing: Literal["auto", "path", "virtual"] = _setting(
        "auto",
        "Where the bucket stands in a URL: in the path or in the host name; auto: in the path for "
        "a server of `PIGEONHOLE_S3_ENDPOINT`, as AWS prefers without.",
    )
    s3_ca: str = _setting(
        "", "File of the CA certificates of the S3 server; empty: those of certifi."
    )

    # Models
    catalogue: str = _setting("", "TOML file that adds models to `shared/model_catalogue.toml`.")
    default_model: str = _setting(
        "auto", "Model of requests that name none; `auto` chooses by the language of each text."
    )
    text_fallback: bool = _setting(
        True,
        "Classify texts by the default model where they name an image model that no worker holds.",
    )
    models: str = _setting(
        "",
        "Models that workers load, comma-separated; empty: every model of the catalogue "
        "that is installed.",
    )
    allow_downloads: bool = _setting(
        False, "Allow workers to download missing models from the model hub."
    )
    model_idle_s: float = _setting(
        0.0,
        "Time without use after which a worker frees the memory of a model; the next request loads "
        "it again. Models that read images stay. 0: never.",
        minimum=0,
    )
    device: Literal["auto", "cpu", "cuda"] = _setting(
        "auto", "Device of a worker. It decides which queues and models the worker serves."
    )
    cpu_engine: Literal["auto", "openvino", "torch"] = _setting(
        "auto", "Inference engine of a CPU worker."
    )
    cpu_precision: Literal["auto", "bf16", "int8"] = _setting(
        "auto",
        "Precision of text models on a CPU. auto: int8 where `pigeonhole-server models optimise` "
        "made such a version, else bfloat16 where the CPU has it; int8: as auto, with a warning "
        "where there is none; bf16: never int8.",
    )
    int8_dir: str = _setting("", "Directory of int8 models; empty: `int8` in the data directory.")
    microbatch_tokens: int = _setting(
        0,
        "Maximum tokens of one forward pass, padding included; 0: 1024 on a CPU, measured on "
        "a GPU.",
        minimum=0,
    )

    # API
    api_processes: int = _setting(1, "Number of API processes.", minimum=1)
    api_threads: int = _setting(
        96,
        "Threads of one API process. Each synchronous call holds one while it waits.",
        minimum=24,
    )
    header_timeout_s: float = _setting(
        15.0,
        "Maximum wait for the headers of the next request; then an idle connection is closed.",
        minimum=1,
    )
    body_timeout_s: float = _setting(
        15.0,
        "Maximum pause within a request body. A small body must be complete within this "
        "time; a large one must arrive at 32 KiB/s or faster.",
        minimum=0.1,
    )
    response_timeout_s: float = _setting(
        30.0,
        "Maximum pause of a client that reads a response; a large response must be read at "
        "32 KiB/s or faster.",
        minimum=0.1,
    )
    max_address_connections: int = _setting(
        8192, "Maximum connections of one client address to an API process.", minimum=16
    )
    max_address_requests: int = _setting(
        1024, "Maximum concurrent requests of one client address in an API process.", minimum=1
    )
    max_bodies_bytes: int = _setting(
        64 * 2**20,
        "Maximum sum of request bodies above 64 KiB that an API process holds in memory.",
        minimum=1024,
    )
    upload_threads: int = _setting(
        16, "Maximum concurrent file uploads of one API process.", minimum=1
    )
    request_timeout_s: float = _setting(30.0, "Maximum wait of a synchronous call.", minimum=0.1)
    max_queued_calls: int = _setting(
        1024, "Maximum synchronous calls in one queue. Accounts share it evenly.", minimum=1
    )
    path_prefix: str = _setting(
        "", "Path under which a proxy publishes the API, such as `/classify`; empty: none."
    )
    trusted_proxies: str = _setting(
        "",
        "Addresses and networks of proxies whose `X-Forwarded-*` headers are trusted: "
        "`10.1.0.0/16,::1`.",
    )
    allowed_origins: str = _setting(
        "",
        "Origins whose pages may call the API from a browser, such as "
        "`https://app.example.org`, comma-separated; `*`: all; empty: none.",
    )
    key_cache_s: float = _setting(
        10.0, "How long the API caches a key. Revocation takes effect within this time.", minimum=0
    )
    cache_bytes: Bytes = _setting(2**26, "Maximum size of the result cache; 0: none.", minimum=0)
    cache_ttl_s: float = _setting(3600.0, "Time to live of a cached answer.", minimum=1)

    # Accounts
    tiers: str = _setting("", "TOML file of the tiers of accounts, instead of `shared/tiers.toml`.")

    # Limits of one request
    max_body_bytes: Bytes = _setting(32 * 2**20, "Maximum size of a request body.", minimum=1024)
    max_inputs: int = _setting(1024, "Maximum inputs per request.", minimum=1)
    max_labels: int = _setting(256, "Maximum labels per question.", minimum=2)
    max_groups: int = _setting(8, "Maximum label groups per request.", minimum=1)
    max_label_chars: int = _setting(256, "Maximum length of a label, in characters.", minimum=1)
    max_description_chars: int = _setting(
        2000, "Maximum characters of a description, template or example of a label.", minimum=1
    )
    max_label_examples: int = _setting(1024, "Maximum examples of labels per request.", minimum=1)
    max_input_tokens: int = _setting(8192, "Maximum tokens per input.", minimum=1)
    max_pairs: int = _setting(
        4096,
        "Maximum pairs of a text, or of a window of a document, and a label that an NLI model "
        "compares for one request.",
    )
    max_label_tokens: int = _setting(
        16384, "Maximum tokens of labels, descriptions and examples of one question.", minimum=64
    )
    max_examples: int = _setting(50_000, "Maximum examples per train or evaluate call.", minimum=1)
    max_num_iters: int = _setting(100, "Maximum iterations over one example.", minimum=1)

    # Classifiers
    max_classifiers: int = _setting(1000, "Maximum classifiers per account.", minimum=1)
    max_classifier_labels: int = _setting(1024, "Maximum labels per classifier.", minimum=2)
    retraining_deadline_s: float = _setting(21600.0, "Maximum time of a retraining run.")
    versions_kept: int = _setting(
        20,
        "Versions of a classifier that are retained, in addition to those with an alias.",
        minimum=1,
    )
    max_import_bytes: Bytes = _setting(
        256 * 2**20, "Maximum size of an imported classifier file.", minimum=1024
    )

    # Files and batches
    max_file_bytes: Bytes = _setting(5 * 2**30, "Maximum size of an uploaded file.", minimum=1024)
    file_retention_s: float = _setting(30 * 86400.0, "Retention of an uploaded file.", minimum=60)
    max_row_bytes: Bytes = _setting(
        4 * 2**20, "Maximum size of one row of an input file.", minimum=1024
    )
    s3_inputs: str = _setting(
        "",
        "S3 locations that batches may read, `s3://bucket/prefix/`, comma-separated; empty: none.",
    )
    s3_outputs: str = _setting(
        "",
        "S3 locations to which batches may write, `s3://bucket/prefix/`, "
        "comma-separated; empty: none.",
    )
    max_account_parts: int = _setting(
        64, "Maximum batch parts of one account in flight in one queue.", minimum=1
    )

    # URLs that requests and webhooks name
    fetch_timeout_s: float = _setting(
        10.0, "Timeout of one download or webhook request.", minimum=0.1
    )
    fetch_networks: str = _setting(
        "", "Private networks that URLs may address: `10.1.0.0/16,fd00::/8`."
    )
    fetch_ports: str = _setting(
        "", "Ports that URLs may address in addition to 80 and 443: `8080,8443`."
    )
    max_image_bytes: Bytes = _setting(8 * 2**20, "Maximum size of an image.", minimum=1024)
    max_document_bytes: Bytes = _setting(32 * 2**20, "Maximum size of a document.", minimum=1024)
    decoders: int = _setting(
        0,
        "Child processes of a worker that decode images and documents; 0: number of cores "
        "plus one.",
    )
    decoder_bytes: Bytes = _setting(
        2**30,
        "Maximum memory of the process that decodes one image, document or Parquet file.",
        minimum=2**26,
    )
    decode_limit_s: float = _setting(
        10.0,
        "Maximum processor time to decode one image or document, or the next rows of a "
        "Parquet file.",
        minimum=0.1,
    )
    max_images: int = _setting(20, "Maximum images per item.", minimum=1)
    max_pages: int = _setting(20, "Maximum pages read of one document.", minimum=1)
    max_document_tokens: int = _setting(
        1_000_000, "Maximum tokens of the text of one document.", minimum=1
    )

    # Jobs
    result_retention_s: float = _setting(
        7 * 86400.0,
        "Retention of a job and its result, from the creation of the job.",
        minimum=60,
    )
    idempotency_retention_s: float = _setting(
        86400.0, "Retention of an Idempotency-Key.", minimum=60
    )
    inline_result_bytes: Bytes = _setting(
        256 * 1024,
        "Maximum size of a result inside a job object; a larger one is given by URL.",
        minimum=0,
    )
    lease_s: float = _setting(
        10.0, "Time without a heartbeat after which a part is taken from its worker.", minimum=1
    )
    max_attempts: int = _setting(5, "Maximum attempts of a part; then its job fails.", minimum=1)
    forward_pass_limit_s: float = _setting(
        120.0,
        "Maximum time of a forward pass; then the worker process ends and is replaced.",
        minimum=1,
    )
    worker_memory: Bytes = _setting(
        0,
        "Memory above which a worker finishes its work and is replaced, such as `3GB`; 0: 80 "
        "% of its container's limit, if there is one.",
        minimum=0,
    )
    shutdown_grace_s: float = _setting(
        25.0, "Time that a stopping worker has to finish its work.", minimum=2
    )

    # Operation
    redis_timeout_s: float = _setting(2.0, "Timeout of a Redis request.", minimum=1.5)
    store_timeout_s: float = _setting(5.0, "Timeout of an object store request.", minimum=0.1)
    audit_s: float = _setting(
        60.0,
        "Interval at which the keeper compares the open jobs on the object store with Redis.",
        minimum=1,
    )
    metrics_port: int = _setting(
        0,
        "Port of `/metrics` and `/healthz` of a worker or keeper; 0: none. The images set 9464.",
        minimum=0,
    )
    otlp_endpoint: str = _setting(
        "",
        "URL of an OpenTelemetry collector that takes OTLP over HTTP, such as "
        "`http://collector:4318`; empty: no traces.",
    )
    log_level: Literal["debug", "info", "warning", "error"] = _setting(
        "info", "Minimum level of log messages."
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
            if renamed := RENAMED.get(variable.removeprefix(PREFIX)):
                raise ConfigurationError(f"{variable} has a new name: set {PREFIX}{renamed}")
            if variable not in known:
                near = difflib.get_close_matches(variable, known, n=1, cutoff=0)
                raise ConfigurationError(f"{variable} is not a setting; did you mean {near[0]}?")
            entry = known[variable]
            values[entry.name] = parse(
                variable, env[variable], hints[entry.name], entry.metadata["minimum"]
            )
        settings = cls(**values)
        networks_of(settings.fetch_networks)  # an invalid value stops the start
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
        """The URL of the object store; the data directory by default."""
        return self.object_store or (self.data_dir / "objects").absolute().as_uri()

    @property
    def int8_folder(self) -> Path:
        """Where int8 models are."""
        return Path(self.int8_dir) if self.int8_dir else self.data_dir / "int8"


def is_path_prefix(text: str) -> bool:
    """Whether a text can be the prefix of all API paths in a URL.

    >>> [is_path_prefix(text) for text in ("/a", "/a/b-c", "a", "/", "//a", "/a/", "/a/..", "/v1")]
    [True, True, False, False, False, False, False, False]
    """
    return bool(_PATH_PREFIX.fullmatch(text)) and text.split("/")[1] not in _OWN_PATHS


def table() -> str:
    """The settings as a Markdown table, for `docs/reference/settings.md`."""
    hints = get_type_hints(Settings)
    rows = ["| variable | type | default | description |", "| --- | --- | --- | --- |"]
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
