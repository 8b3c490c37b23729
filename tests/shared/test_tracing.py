"""The facade of tracing: off, on, and what it takes from others."""

from __future__ import annotations

import subprocess
import sys
import threading

import pytest
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

from shared import tracing
from shared.errors import ConfigurationError
from tests.spans import PARENT, TRACE, ended, trace_of


class TestOff:
    def test_nothing_is_traced_and_nothing_travels(self) -> None:
        tracing.start("test", "")

        with tracing.span("work", parent=PARENT, attributes={}):
            assert tracing.traceparent() is None
            assert tracing.current() is None
        assert tracing.begin("work", parent=PARENT, attributes={}) is None
        assert not tracing.on()

    def test_opentelemetry_is_not_imported(self) -> None:
        program = (
            "import sys\n"
            "from shared import tracing\n"
            "tracing.start('api', '')\n"
            "with tracing.span('work', attributes={}): tracing.traceparent()\n"
            "print([name for name in sys.modules if name.startswith('opentelemetry')])\n"
        )

        done = subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60
        )

        assert done.stdout.strip() == "[]"


class TestStart:
    def test_a_missing_extra_is_named(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(tracing, "find_spec", lambda name: None)

        with pytest.raises(ConfigurationError, match=r"pigeonhole-server\[tracing\]"):
            tracing.start("api", "http://127.0.0.1:4318")
        assert not tracing.on()

    def test_so_is_one_of_which_not_even_the_root_is_there(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def absent(name: str) -> None:
            raise ModuleNotFoundError(name)

        monkeypatch.setattr(tracing, "find_spec", absent)

        with pytest.raises(ConfigurationError, match=r"pigeonhole-server\[tracing\]"):
            tracing.check("http://127.0.0.1:4318")

    def test_an_endpoint_must_be_a_url(self) -> None:
        with pytest.raises(ConfigurationError, match="http://collector:4318"):
            tracing.check("collector:4318")


class TestOn:
    def test_a_span_continues_the_trace_of_a_traceparent(
        self, exporter: InMemorySpanExporter
    ) -> None:
        with tracing.span("work", kind="server", parent=PARENT, attributes={"n": 1}):
            sent = tracing.traceparent()

        span = ended(exporter)["work"]
        assert trace_of(span) == TRACE
        assert span.parent is not None
        assert f"{span.parent.span_id:016x}" == "00f067aa0ba902b7"
        assert span.context is not None
        assert sent == f"00-{TRACE}-{span.context.span_id:016x}-01"
        assert span.attributes == {"n": 1}
        assert span.resource.attributes["service.name"] == "pigeonhole-test"

    @pytest.mark.parametrize(
        "parent",
        [
            "",
            "00",
            "nonsense",
            PARENT[:-1],
            PARENT.upper(),
            f"ff{PARENT[2:]}",
            f"{PARENT}-more",
            f"00-{'0' * 32}-00f067aa0ba902b7-01",
            f"00-{TRACE}-{'0' * 16}-01",
            "é" * 55,
        ],
    )
    def test_a_malformed_traceparent_begins_a_new_trace(
        self, exporter: InMemorySpanExporter, parent: str
    ) -> None:
        with tracing.span("work", parent=parent, attributes={}):
            pass

        span = ended(exporter)["work"]
        assert span.parent is None
        assert trace_of(span) != TRACE

    def test_a_trace_that_its_client_does_not_sample_is_passed_on_and_not_sent(
        self, exporter: InMemorySpanExporter
    ) -> None:
        with tracing.span("work", parent=f"{PARENT[:-2]}00", attributes={}):
            sent = tracing.traceparent()
            with tracing.forward_pass("tiny", [tracing.current()], windows=1):
                pass

        assert sent is not None
        assert sent.startswith(f"00-{TRACE}-")
        assert sent.endswith("-00")
        assert ended(exporter) == {}

    def test_inner_spans_are_children(self, exporter: InMemorySpanExporter) -> None:
        with tracing.span("outer", attributes={}), tracing.span("inner", attributes={}):
            pass

        spans = ended(exporter)
        assert spans["inner"].parent == spans["outer"].context

    def test_an_exception_is_an_error_without_its_message(
        self, exporter: InMemorySpanExporter
    ) -> None:
        with pytest.raises(ValueError, match="secret"), tracing.span("work", attributes={}):
            raise ValueError("a secret text")

        span = ended(exporter)["work"]
        assert span.status.status_code is StatusCode.ERROR
        assert span.attributes == {"error.type": "ValueError"}
        assert "secret" not in span.to_json()

    def test_another_thread_may_end_a_span(self, exporter: InMemorySpanExporter) -> None:
        span = tracing.begin("work", attributes={})

        thread = threading.Thread(target=tracing.end, args=[span])
        thread.start()
        thread.join()

        assert list(ended(exporter)) == ["work"]

    def test_a_forward_pass_is_linked_to_all_that_it_served(
        self, exporter: InMemorySpanExporter
    ) -> None:
        calls = [tracing.begin(f"call {n}", attributes={}) for n in range(3)]

        served = [calls[0], calls[0], None, calls[1], calls[2]]
        with tracing.forward_pass("tiny", served, windows=5):
            pass
        for call in calls:
            tracing.end(call)

        spans = ended(exporter)
        span = spans["forward pass"]
        assert span.parent == spans["call 0"].context
        assert [link.context for link in span.links] == [
            spans["call 1"].context,
            spans["call 2"].context,
        ]
        assert span.attributes == {"pigeonhole.model": "tiny", "pigeonhole.windows": 5}

    def test_a_forward_pass_that_serves_no_traced_work_is_not_recorded(
        self, exporter: InMemorySpanExporter
    ) -> None:
        with tracing.forward_pass("tiny", [None], windows=1):
            pass

        assert ended(exporter) == {}
