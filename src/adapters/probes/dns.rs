//! One DNS question to one server: over UDP, and over TCP when UDP brings nothing or too little.
//!
//! Invariant: an answer is believed only if it comes from the server's address and has our id and our question.
//! No cache, no recursion, no following of aliases: what is told is what this server says of this name. The wire
//! format is hickory's.

use std::{
    io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use hickory_proto::{
    op::{Edns, Message, MessageType, Query, ResponseCode},
    rr::{Name, RData, RecordType},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpStream, UdpSocket},
};

use super::within;
use crate::ports::{Clock, probes::DnsError};

/// The largest UDP answer we offer to take: fits every path without fragments [dnsflagday.net/2020].
const UDP_BYTES_MAX: u16 = 1_232;

/// Asks `server` for the values of `name` and type; an empty answer means that the name has none of that type.
/// A name in an answer is written without its final dot.
pub(super) async fn ask(
    clock: &dyn Clock,
    server: &str,
    name: &str,
    record_type: &str,
    timeout: Duration,
) -> Result<Vec<String>, DnsError> {
    let refused = |code: String| DnsError::Refused { server: server.to_owned(), name: name.to_owned(), code };
    let unreachable = |reason: String| DnsError::Unreachable { server: server.to_owned(), reason };
    let not_asked = |reason: String| unreachable(format!("the question was not asked: {reason}"));
    let asked_type = match record_type {
        "A" => RecordType::A,
        "AAAA" => RecordType::AAAA,
        "CNAME" => RecordType::CNAME,
        "TXT" => RecordType::TXT,
        other => {
            return Err(not_asked(format!("type {other} (known are A, AAAA, CNAME, TXT)")));
        }
    };
    let mut asked_name = Name::from_ascii(name).map_err(|e| not_asked(format!("`{name}`: {e}")))?;
    asked_name.set_fqdn(true);
    let query = Query::query(asked_name, asked_type);

    // Half for UDP, the rest for TCP: a server behind a firewall that drops one of them is still heard.
    let begun = clock.boot();
    let addresses = within(clock, timeout, tokio::net::lookup_host(server))
        .await
        .ok_or_else(|| unreachable("its name was not resolved in time".to_owned()))?
        .map_err(|e| not_asked(e.to_string()))?;
    let address = addresses.into_iter().next().ok_or_else(|| not_asked("the server has no address".to_owned()))?;
    let left = timeout.saturating_sub(clock.boot().saturating_sub(begun));
    let by_udp = match within(clock, left / 2, over_udp(address, &query)).await {
        Some(Ok(answer)) if !answer.metadata.truncation => Ok(answer),
        Some(Ok(_)) => Err("the answer over UDP was truncated".to_owned()),
        Some(Err(e)) => Err(format!("UDP: {e}")),
        None => Err("no answer over UDP in time".to_owned()),
    };
    let answer = match by_udp {
        Ok(answer) => answer,
        Err(udp) => {
            let left = timeout.saturating_sub(clock.boot().saturating_sub(begun));
            match within(clock, left, over_tcp(address, &query)).await {
                Some(Ok(answer)) => answer,
                Some(Err(e)) => return Err(unreachable(format!("{udp}; TCP: {e}"))),
                None => return Err(unreachable(format!("{udp}; none over TCP in time"))),
            }
        }
    };
    values(&answer, asked_type).map_err(refused)
}

/// The values of the asked type, or the code with which the server declined to tell.
fn values(answer: &Message, asked: RecordType) -> Result<Vec<String>, String> {
    match answer.metadata.response_code {
        ResponseCode::NoError => {}
        ResponseCode::NXDomain => return Err("NXDOMAIN".to_owned()),
        ResponseCode::ServFail => return Err("SERVFAIL".to_owned()),
        ResponseCode::Refused => return Err("REFUSED".to_owned()),
        ResponseCode::FormErr => return Err("FORMERR".to_owned()),
        ResponseCode::NotImp => return Err("NOTIMP".to_owned()),
        other => return Err(format!("rcode {} ({other})", u16::from(other))),
    }
    let mut values = Vec::new();
    let mut alias = None;
    for record in &answer.answers {
        match &record.data {
            RData::A(a) if asked == RecordType::A => values.push(a.to_string()),
            RData::AAAA(a) if asked == RecordType::AAAA => values.push(a.to_string()),
            RData::TXT(text) if asked == RecordType::TXT => values.push(text.to_string()),
            RData::CNAME(name) => {
                let name = name.to_string().trim_end_matches('.').to_owned();
                if asked == RecordType::CNAME {
                    values.push(name);
                } else {
                    alias = Some(name);
                }
            }
            _ => {}
        }
    }
    if values.is_empty() {
        // Neither is "the name has no such record": that would be an observation that nobody made.
        if let Some(alias) = alias {
            return Err(format!("an alias to {alias} and no {asked}"));
        }
        let refers = answer.authorities.iter().any(|record| record.record_type() == RecordType::NS);
        if refers && !answer.metadata.authoritative {
            return Err("a referral: it is not an authority".to_owned());
        }
    }
    Ok(values)
}

fn question(query: &Query) -> io::Result<(u16, Vec<u8>)> {
    let mut message = Message::query();
    message.metadata.recursion_desired = false;
    message.add_query(query.clone());
    let mut edns = Edns::new();
    edns.set_max_payload(UDP_BYTES_MAX);
    message.set_edns(edns);
    let bytes = message.to_vec().map_err(io::Error::other)?;
    Ok((message.metadata.id, bytes))
}

/// The answer to our question, or `None` for whatever else arrived.
fn answer_to(id: u16, query: &Query, bytes: &[u8]) -> Option<Message> {
    let message = Message::from_vec(bytes).ok()?;
    let ours = message.metadata.id == id
        && message.metadata.message_type == MessageType::Response
        // A server that could not read the question cannot repeat it.
        && (message.queries.as_slice() == std::slice::from_ref(query)
            || (message.queries.is_empty()
                && message.metadata.response_code == ResponseCode::FormErr));
    ours.then_some(message)
}

async fn over_udp(server: SocketAddr, query: &Query) -> io::Result<Message> {
    let any: SocketAddr =
        if server.is_ipv4() { (Ipv4Addr::UNSPECIFIED, 0).into() } else { (Ipv6Addr::UNSPECIFIED, 0).into() };
    let socket = UdpSocket::bind(any).await?;
    // Connected, so that the kernel lets through this server's datagrams only.
    socket.connect(server).await?;
    let (id, bytes) = question(query)?;
    socket.send(&bytes).await?;
    let mut buffer = vec![0; usize::from(u16::MAX)];
    loop {
        let received = socket.recv(&mut buffer).await?;
        if let Some(answer) = answer_to(id, query, &buffer[..received]) {
            return Ok(answer);
        }
    }
}

async fn over_tcp(server: SocketAddr, query: &Query) -> io::Result<Message> {
    let mut stream = TcpStream::connect(server).await?;
    let (id, bytes) = question(query)?;
    let length = u16::try_from(bytes.len()).map_err(io::Error::other)?;
    let mut framed = length.to_be_bytes().to_vec();
    framed.extend(bytes);
    stream.write_all(&framed).await?;
    let mut buffer = vec![0; usize::from(stream.read_u16().await?)];
    stream.read_exact(&mut buffer).await?;
    answer_to(id, query, &buffer).ok_or_else(|| io::Error::other("the answer is not to our question"))
}
