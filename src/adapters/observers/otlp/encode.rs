//! Spans as OTLP's `ExportTraceServiceRequest`, in protobuf's binary form.
//!
//! Field numbers are those of opentelemetry-proto 1.x, which are stable: `collector/trace/v1/trace_service.proto`,
//! `trace/v1/trace.proto`, `common/v1/common.proto`, `resource/v1/resource.proto`. Seven messages, written by hand rather than
//! by thirteen more crates (docs/adr/0028). A test reads it back with the decoder of OpenTelemetry's Python package.

use jiff::Timestamp;

use crate::domain::trace::{Attributes, Kind, Moment, Span, Status, Value};

/// The instrumentation scope.
const SCOPE: &str = "failoverd";

/// A message of protobuf that is being written.
#[derive(Debug, Default)]
struct Message(Vec<u8>);

impl Message {
    fn varint(&mut self, mut number: u64) {
        while 0x80 <= number {
            self.0.push(number.to_le_bytes()[0] | 0x80);
            number >>= 7;
        }
        self.0.push(number.to_le_bytes()[0]);
    }

    /// The key of a field: its number and how it is written.
    fn key(&mut self, field: u8, wire: u8) {
        self.varint(u64::from(field) << 3 | u64::from(wire));
    }

    fn number(&mut self, field: u8, number: u64) {
        self.key(field, 0);
        self.varint(number);
    }

    fn fixed64(&mut self, field: u8, number: u64) {
        self.key(field, 1);
        self.0.extend(number.to_le_bytes());
    }

    fn bytes(&mut self, field: u8, bytes: &[u8]) {
        self.key(field, 2);
        self.varint(bytes.len() as u64);
        self.0.extend(bytes);
    }

    fn text(&mut self, field: u8, text: &str) {
        self.bytes(field, text.as_bytes());
    }

    fn message(&mut self, field: u8, inner: &Self) {
        self.bytes(field, &inner.0);
    }

    fn attributes<'a>(&mut self, field: u8, attributes: impl IntoIterator<Item = (&'a str, &'a Value)>) {
        for (name, value) in attributes {
            let mut any = Self::default();
            match value {
                Value::Text(text) => any.text(1, text),
                Value::Flag(flag) => any.number(2, u64::from(*flag)),
                // int64: a negative number is its two's complement.
                Value::Number(number) => any.number(3, number.cast_unsigned()),
            }
            let mut pair = Self::default();
            pair.text(1, name);
            pair.message(2, &any);
            self.message(field, &pair);
        }
    }
}

/// `spans` of a resource, as a request.
pub(super) fn request(resource: &Attributes, spans: &[Span]) -> Vec<u8> {
    let mut described = Message::default();
    described.attributes(1, pairs(resource));
    let mut scope = Message::default();
    scope.text(1, SCOPE);
    scope.text(2, env!("CARGO_PKG_VERSION"));
    let mut scoped = Message::default();
    scoped.message(1, &scope);
    for one in spans {
        scoped.message(2, &span(one));
    }
    let mut of_resource = Message::default();
    of_resource.message(1, &described);
    of_resource.message(2, &scoped);
    let mut request = Message::default();
    request.message(1, &of_resource);
    request.0
}

fn pairs(attributes: &Attributes) -> impl Iterator<Item = (&str, &Value)> {
    attributes.iter().map(|(name, value)| (*name, value))
}

fn span(span: &Span) -> Message {
    let mut message = Message::default();
    message.bytes(1, &span.trace.to_bytes());
    message.bytes(2, &span.id.to_bytes());
    if let Some(parent) = &span.parent {
        message.bytes(4, &parent.to_bytes());
    }
    message.text(5, &span.name);
    message.number(
        6,
        match span.kind {
            Kind::Internal => 1,
            Kind::Client => 3,
        },
    );
    message.fixed64(7, nanoseconds(span.began));
    message.fixed64(8, nanoseconds(span.ended));
    message.attributes(9, pairs(&span.attributes));
    for moment in &span.moments {
        message.message(11, &event(moment));
    }
    if span.moments_dropped != 0 {
        message.number(12, span.moments_dropped.into());
    }
    let mut status = Message::default();
    match span.status {
        Status::Unset => {}
        Status::Ok => status.number(3, 1),
        Status::Error => status.number(3, 2),
    }
    message.message(15, &status);
    message
}

fn event(moment: &Moment) -> Message {
    let mut message = Message::default();
    message.fixed64(1, nanoseconds(moment.at));
    message.text(2, moment.name);
    message.attributes(3, pairs(&moment.attributes));
    message
}

/// Since 1970; nothing here is older.
fn nanoseconds(at: Timestamp) -> u64 {
    u64::try_from(at.as_nanosecond()).unwrap_or_default()
}
