"""Reads ExportTraceServiceRequests in hexadecimal, one a line, and prints their spans as JSON, one a line.

The decoder is OpenTelemetry's own (opentelemetry-proto), so that what failoverd writes by hand is read by somebody else.
"""

import json
import sys

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status


def plain(value):
    kind = value.WhichOneof("value")
    assert kind is not None, "an attribute without a value"
    return getattr(value, kind)


def unknown(message):
    """Nothing is there that the schema does not have."""
    kept = type(message)()
    kept.CopyFrom(message)
    kept.DiscardUnknownFields()
    return kept.SerializeToString() != message.SerializeToString()


for line in sys.stdin:
    request = ExportTraceServiceRequest.FromString(bytes.fromhex(line.strip()))
    assert not unknown(request), "fields that OTLP does not have"
    for resource in request.resource_spans:
        names = {a.key: plain(a.value) for a in resource.resource.attributes}
        assert names["service.name"] == "failoverd", names
        for scope in resource.scope_spans:
            for span in scope.spans:
                assert len(span.trace_id) == 16 and len(span.span_id) == 8
                assert 0 < span.start_time_unix_nano <= span.end_time_unix_nano
                print(json.dumps({
                    "trace": span.trace_id.hex(),
                    "id": span.span_id.hex(),
                    "parent": span.parent_span_id.hex(),
                    "name": span.name,
                    "kind": Span.SpanKind.Name(span.kind),
                    "status": Status.StatusCode.Name(span.status.code),
                    "attributes": {a.key: plain(a.value) for a in span.attributes},
                    "moments": [e.name for e in span.events],
                }))
