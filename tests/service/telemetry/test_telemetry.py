"""Traces and metrics by OpenTelemetry, as an OTLP receiver gets them."""

import sys
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
from fastapi.testclient import TestClient
from opentelemetry import trace
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from pydantic import ValidationError

from service.settings import Settings
from tests.service.conftest import MakeApp
from tests.support.fakes import image_file
from tests.support.processes import running_server, serve_command

PNG = {"Content-Type": "image/png"}
TRACE_ID, PARENT_ID = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"

Received = dict[str, list[bytes]]


@contextmanager
def receiver() -> Iterator[tuple[str, Received]]:
    """Run an OTLP receiver; yield its address and the received bodies by path."""
    received: Received = defaultdict(list)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            received[self.path].append(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", received
        server.shutdown()


@pytest.fixture(scope="module")
def sent(bundle_path: Path) -> Received:
    """The bodies that a process sent for two requests, one of them part of a trace."""
    with_trace = {"traceparent": f"00-{TRACE_ID}-{PARENT_ID}-01"}
    with (
        receiver() as (address, received),
        running_server(
            serve_command(bundle_path),
            KINDRED_TELEMETRY="true",
            OTEL_EXPORTER_OTLP_ENDPOINT=address,
            OTEL_SERVICE_NAME="renamed",
        ) as client,
    ):
        client.post("/predict", content=image_file(), headers=PNG | with_trace)
        client.get("/gallery/unknown")
    return received


def spans(sent: Received) -> Iterator[Span]:
    """Yield the server spans, one per request."""
    for body in sent["/v1/traces"]:
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            for scope in resource.scope_spans:
                yield from (one for one in scope.spans if one.kind == Span.SPAN_KIND_SERVER)


def attributes(span: Span) -> dict[str, object]:
    return {
        one.key: getattr(one.value, one.value.WhichOneof("value") or "") for one in span.attributes
    }


def test_a_request_is_a_span_with_its_route_and_status(sent: Received) -> None:
    found = {span.name: attributes(span) for span in spans(sent)}
    assert found.keys() == {"POST /predict", "GET /gallery/{image_id}"}
    assert found["POST /predict"]["http.route"] == "/predict"
    assert found["POST /predict"]["http.response.status_code"] == 200
    assert found["GET /gallery/{image_id}"]["http.response.status_code"] == 404


def test_a_span_belongs_to_the_trace_of_its_request(sent: Received) -> None:
    predict, gallery = sorted(spans(sent), key=lambda span: span.name, reverse=True)
    assert predict.trace_id.hex() == TRACE_ID
    assert predict.parent_span_id.hex() == PARENT_ID
    assert gallery.trace_id.hex() != TRACE_ID
    assert gallery.parent_span_id == b""


def test_a_span_has_the_seconds_of_each_stage(sent: Received) -> None:
    (predict,) = (attributes(span) for span in spans(sent) if span.name == "POST /predict")
    stages = {name: value for name, value in predict.items() if name.startswith("kindred.")}
    expected = {f"kindred.{stage}.seconds" for stage in ("decode", "queue", "inference", "search")}
    assert stages.keys() == expected
    assert all(isinstance(seconds, float) and seconds >= 0 for seconds in stages.values())


def test_spans_have_the_service_name_of_otel_service_name(sent: Received) -> None:
    for body in sent["/v1/traces"]:
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            names = {one.key: one.value.string_value for one in resource.resource.attributes}
            assert names["service.name"] == "renamed"


def test_request_durations_are_exported_as_metrics(sent: Received) -> None:
    names = {
        metric.name
        for body in sent["/v1/metrics"]
        for resource in ExportMetricsServiceRequest.FromString(body).resource_metrics
        for scope in resource.scope_metrics
        for metric in scope.metrics
    }
    assert "http.server.request.duration" in names


def test_telemetry_is_off_by_default(make_app: MakeApp, monkeypatch: pytest.MonkeyPatch) -> None:
    with receiver() as (address, received):
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", address)
        with TestClient(make_app()) as client:
            client.get("/livez")
        assert isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider)
        assert not received


def test_without_the_exporter_the_error_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://localhost:4318")
    assert Settings(telemetry=True).telemetry
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http", None)
    with pytest.raises(ValidationError, match=r"pip install 'fastapi\[opentelemetry\]'"):
        Settings(telemetry=True)


def test_without_an_endpoint_the_error_names_the_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OTEL_EXPORTER_OTLP_ENDPOINT", raising=False)
    with pytest.raises(ValidationError, match="set OTEL_EXPORTER_OTLP_ENDPOINT"):
        Settings(telemetry=True)
