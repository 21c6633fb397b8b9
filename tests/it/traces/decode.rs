//! OTLP read back, by nothing that wrote it: protobuf's wire format, and of the messages what the tests look at.

use std::collections::BTreeMap;

/// A field of a message, as it was written.
#[derive(Debug, Clone)]
enum Field {
    Number(u64),
    Bytes(Vec<u8>),
}

/// One span as a collector sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) trace: String,
    pub(super) id: String,
    /// Empty: it is the root.
    pub(super) parent: String,
    pub(super) name: String,
    pub(super) kind: u64,
    pub(super) began: u64,
    pub(super) ended: u64,
    pub(super) status: u64,
    pub(super) attributes: BTreeMap<String, String>,
    pub(super) moments: Vec<String>,
}

impl Seen {
    pub(super) fn get(&self, name: &str) -> &str {
        self.attributes.get(name).map_or("", String::as_str)
    }
}

fn varint(bytes: &mut &[u8]) -> u64 {
    let (mut number, mut shift) = (0, 0);
    loop {
        let (first, rest) = bytes.split_first().expect("a whole varint");
        *bytes = rest;
        number |= u64::from(first & 0x7f) << shift;
        if first & 0x80 == 0 {
            return number;
        }
        shift += 7;
    }
}

fn take<'a>(bytes: &mut &'a [u8], count: usize) -> &'a [u8] {
    let (taken, rest) = bytes.split_at(count);
    *bytes = rest;
    taken
}

fn fields(mut bytes: &[u8]) -> Vec<(u64, Field)> {
    let mut all = Vec::new();
    while !bytes.is_empty() {
        let key = varint(&mut bytes);
        let field = match key & 7 {
            0 => Field::Number(varint(&mut bytes)),
            1 => Field::Number(u64::from_le_bytes(take(&mut bytes, 8).try_into().expect("eight"))),
            2 => {
                let count = usize::try_from(varint(&mut bytes)).expect("a length");
                Field::Bytes(take(&mut bytes, count).to_vec())
            }
            other => panic!("wire type {other} is not of OTLP"),
        };
        all.push((key >> 3, field));
    }
    all
}

fn each(message: &[u8], wanted: u64) -> Vec<Vec<u8>> {
    let of = fields(message).into_iter().filter(|(number, _)| *number == wanted);
    of.map(|(_, field)| match field {
        Field::Bytes(bytes) => bytes,
        Field::Number(_) => panic!("field {wanted} is no message"),
    })
    .collect()
}

fn one(message: &[u8], wanted: u64) -> Vec<u8> {
    each(message, wanted).pop().unwrap_or_default()
}

fn number(message: &[u8], wanted: u64) -> u64 {
    fields(message)
        .into_iter()
        .find_map(|(number, field)| match field {
            Field::Number(n) if number == wanted => Some(n),
            _ => None,
        })
        .unwrap_or_default()
}

fn text(message: &[u8], wanted: u64) -> String {
    String::from_utf8(one(message, wanted)).expect("UTF-8")
}

fn attributes(message: &[u8], wanted: u64) -> BTreeMap<String, String> {
    let pairs = each(message, wanted);
    let all: BTreeMap<_, _> = pairs
        .iter()
        .map(|pair| {
            let any = one(pair, 2);
            let value = match &fields(&any)[..] {
                [(1, Field::Bytes(bytes))] => String::from_utf8(bytes.clone()).expect("UTF-8"),
                [(2, Field::Number(flag))] => (*flag == 1).to_string(),
                [(3, Field::Number(number))] => number.to_string(),
                other => panic!("{other:?} is no value"),
            };
            (text(pair, 1), value)
        })
        .collect();
    assert_eq!(all.len(), pairs.len(), "no attribute twice: {all:?}");
    all
}

/// The spans of an `ExportTraceServiceRequest`, and the attributes of its resource.
pub(super) fn request(bytes: &[u8]) -> (BTreeMap<String, String>, Vec<Seen>) {
    let of_resource = one(bytes, 1);
    let resource = attributes(&one(&of_resource, 1), 1);
    let scoped = one(&of_resource, 2);
    let spans = each(&scoped, 2).iter().map(|span| span_of(span)).collect();
    (resource, spans)
}

fn span_of(span: &[u8]) -> Seen {
    Seen {
        trace: hex::encode(one(span, 1)),
        id: hex::encode(one(span, 2)),
        parent: hex::encode(one(span, 4)),
        name: text(span, 5),
        kind: number(span, 6),
        began: number(span, 7),
        ended: number(span, 8),
        attributes: attributes(span, 9),
        moments: each(span, 11).iter().map(|moment| text(moment, 2)).collect(),
        status: number(&one(span, 15), 3),
    }
}
