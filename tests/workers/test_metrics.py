"""The server of metrics and of the probes of containers."""

from __future__ import annotations

import http.client

import pytest

from shared.errors import ConfigurationError
from tests.servers import HOST, free_port
from workers import metrics


def test_probes_are_answered_by_what_the_process_says_of_itself():
    port, answers = free_port(), [True]
    metrics.serve(port, role="worker", healthy=lambda: answers[-1])

    def get(path: str) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection(HOST, port, timeout=5)
        connection.request("GET", path)
        answer = connection.getresponse()
        found = answer.status, answer.read()
        connection.close()
        return found

    assert get("/healthz") == (200, b"ok\n")
    answers.append(False)
    assert get("/healthz")[0] == 503
    assert b"pigeonhole_cache_bytes" in get("/metrics")[1]
    assert get("/")[0] == 404


def test_a_port_that_is_taken_stops_the_start_and_says_which_setting_to_change():
    port = free_port()
    metrics.serve(port, role="worker", healthy=lambda: True)

    with pytest.raises(ConfigurationError, match="PIGEONHOLE_METRICS_PORT"):
        metrics.serve(port, role="worker", healthy=lambda: True)
