"""A collector on loopback: takes OTLP over HTTP and keeps the spans."""

from __future__ import annotations

import gzip
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from tests.servers import HOST


@dataclass(frozen=True, kw_only=True)
class ReceivedSpan:
    """A span and the name of the service that sent it."""

    service: str
    span: Span

    @property
    def trace(self) -> str:
        return self.span.trace_id.hex()

    @property
    def attributes(self) -> dict[str, object]:
        return {
            each.key: getattr(each.value, each.value.WhichOneof("value") or "")
            for each in self.span.attributes
        }


class OtlpReceiver:
    """What has arrived at `url`."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.bodies: list[bytes] = []
        self._lock = threading.Lock()

    def take(self, body: bytes) -> None:
        with self._lock:
            self.bodies.append(body)

    def spans(self) -> list[ReceivedSpan]:
        with self._lock:
            bodies = list(self.bodies)
        return [
            ReceivedSpan(service=service, span=span)
            for body in bodies
            for of in ExportTraceServiceRequest.FromString(body).resource_spans
            for service in [
                each.value.string_value
                for each in of.resource.attributes
                if each.key == "service.name"
            ]
            for scope in of.scope_spans
            for span in scope.spans
        ]

    def of_trace(self, trace: str) -> dict[str, ReceivedSpan]:
        """The spans of a trace, by name."""
        return {each.span.name: each for each in self.spans() if each.trace == trace}


@contextmanager
def otlp_receiver() -> Iterator[OtlpReceiver]:
    """A collector while the block runs."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.headers.get("Content-Encoding") == "gzip":
                body = gzip.decompress(body)
            found = self.path == "/v1/traces"
            if found:
                receiver.take(body)
            self.send_response(200 if found else 404)
            self.send_header("Content-Type", "application/x-protobuf")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer((HOST, 0), Handler)
    receiver = OtlpReceiver(f"http://{HOST}:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield receiver
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)
