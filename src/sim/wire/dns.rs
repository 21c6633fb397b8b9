//! The zones' name servers: real DNS over UDP and TCP on loopback, answered from the world.
//!
//! Authoritative only: no recursion. A name in no zone is REFUSED, a name that a zone has not is NXDOMAIN with
//! the zone's SOA, a name without the type asked for is an empty NOERROR. [`serve`] answers private zones too, as
//! the resolver of an associated VPC does; [`serve_view`] can leave them out.

use std::{io, str::FromStr as _, sync::Arc, time::Duration};

use hickory_proto::{
    op::{Message, MessageType, OpCode, ResponseCode},
    rr::{
        DNSClass, Name, RData, Record,
        rdata::{A, CNAME, NS, SOA, TXT},
    },
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream, UdpSocket},
    sync::Semaphore,
};

use super::SharedWorld;
use crate::sim::world::{
    World,
    route53::{
        Answer, Lookup, View,
        record::{DnsName, RrType},
    },
};

/// The largest UDP answer without EDNS (RFC 1035), and the largest we send with it.
const UDP_BYTES_MAX: std::ops::RangeInclusive<u16> = 512..=1_232;
/// TCP clients served at once; more wait in the listen queue.
const TCP_CLIENTS_MAX: usize = 64;
/// An idle TCP client is dropped after this long.
const TCP_IDLE_MAX: Duration = Duration::from_secs(10);

/// Serves every zone, private ones included, until a socket fails.
///
/// # Errors
/// Only when a socket itself fails; what clients send never ends it.
pub async fn serve(udp: UdpSocket, tcp: TcpListener, world: SharedWorld) -> io::Result<()> {
    serve_view(udp, tcp, world, View::Vpc).await
}

/// Serves what `view` sees, until a socket fails.
///
/// # Errors
/// As [`serve`].
pub async fn serve_view(udp: UdpSocket, tcp: TcpListener, world: SharedWorld, view: View) -> io::Result<()> {
    tokio::try_join!(serve_udp(udp, world.clone(), view), serve_tcp(tcp, world, view))?;
    Ok(())
}

async fn serve_udp(socket: UdpSocket, world: SharedWorld, view: View) -> io::Result<()> {
    let mut buffer = vec![0; usize::from(u16::MAX)];
    loop {
        let (length, from) = match socket.recv_from(&mut buffer).await {
            Ok(received) => received,
            // A client that is gone answers with ICMP, which some systems report here.
            Err(e) if e.kind() == io::ErrorKind::ConnectionReset => continue,
            Err(e) => return Err(e),
        };
        let reply = world.with(|world| reply(world, view, &buffer[..length], Transport::Udp));
        if let Some(reply) = reply
            && let Err(e) = socket.send_to(&reply, from).await
        {
            tracing::debug!(%from, error = %e, "dns: reply not sent");
        }
    }
}

async fn serve_tcp(listener: TcpListener, world: SharedWorld, view: View) -> io::Result<()> {
    let clients = Arc::new(Semaphore::new(TCP_CLIENTS_MAX));
    loop {
        let permit = Arc::clone(&clients).acquire_owned().await.map_err(io::Error::other)?;
        let (stream, from) = listener.accept().await?;
        let world = world.clone();
        tokio::spawn(async move {
            if let Err(e) = serve_tcp_client(stream, &world, view).await {
                tracing::debug!(%from, error = %e, "dns: tcp client ended");
            }
            drop(permit);
        });
    }
}

async fn serve_tcp_client(mut stream: TcpStream, world: &SharedWorld, view: View) -> io::Result<()> {
    loop {
        let query = tokio::time::timeout(TCP_IDLE_MAX, read_frame(&mut stream)).await??;
        let Some(reply) = world.with(|world| reply(world, view, &query, Transport::Tcp)) else {
            return Ok(());
        };
        let length = u16::try_from(reply.len()).map_err(io::Error::other)?;
        stream.write_all(&length.to_be_bytes()).await?;
        stream.write_all(&reply).await?;
    }
}

async fn read_frame(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let length = stream.read_u16().await?;
    let mut frame = vec![0; usize::from(length)];
    stream.read_exact(&mut frame).await?;
    Ok(frame)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Transport {
    Udp,
    Tcp,
}

/// The bytes to send back; `None` for what is not a query at all.
fn reply(world: &World, view: View, bytes: &[u8], transport: Transport) -> Option<Vec<u8>> {
    let query = match Message::from_vec(bytes) {
        Ok(query) if query.metadata.message_type == MessageType::Query => query,
        Ok(_) => return None,
        Err(_) => {
            let id = u16::from_be_bytes([*bytes.first()?, *bytes.get(1)?]);
            return Message::error_msg(id, OpCode::Query, ResponseCode::FormErr).to_vec().ok();
        }
    };
    let response = respond(world, view, &query);
    let bytes = response.to_vec().ok()?;
    let asked = query.edns.as_ref().map_or(0, |e| e.max_payload());
    let most = asked.clamp(*UDP_BYTES_MAX.start(), *UDP_BYTES_MAX.end());
    if transport == Transport::Udp && usize::from(most) < bytes.len() {
        return response.truncate().to_vec().ok();
    }
    Some(bytes)
}

fn respond(world: &World, view: View, query: &Message) -> Message {
    let mut response = Message::response(query.metadata.id, query.metadata.op_code);
    response.metadata.recursion_desired = query.metadata.recursion_desired;
    response.add_queries(query.queries.iter().cloned());
    if query.metadata.op_code != OpCode::Query {
        response.metadata.response_code = ResponseCode::NotImp;
        return response;
    }
    let [question] = query.queries.as_slice() else {
        response.metadata.response_code = ResponseCode::FormErr;
        return response;
    };
    if let Some(edns) = &query.edns {
        let mut ours = hickory_proto::op::Edns::new();
        ours.set_max_payload(*UDP_BYTES_MAX.end());
        ours.set_version(edns.version());
        response.set_edns(ours);
    }
    let name = question.name().to_ascii().parse::<DnsName>();
    let (Ok(name), true) = (name, question.query_class() == DNSClass::IN) else {
        response.metadata.response_code = ResponseCode::Refused;
        return response;
    };
    // A type that Route 53 has not is a type the name has not.
    let rtype = question.query_type().to_string().parse::<RrType>();
    let lookup = match rtype {
        Ok(rtype) => world.route53.lookup(view, world.now, &name, rtype),
        Err(_) => match world.route53.lookup(view, world.now, &name, RrType::SSHFP) {
            Lookup::Found(_) => Lookup::Refused,
            other => other,
        },
    };
    fill(&mut response, world, lookup);
    response
}

fn fill(response: &mut Message, world: &World, lookup: Lookup) {
    response.metadata.authoritative = lookup != Lookup::Refused;
    match lookup {
        Lookup::Refused => response.metadata.response_code = ResponseCode::Refused,
        Lookup::NoSuchName { zone } => {
            response.metadata.response_code = ResponseCode::NXDomain;
            response.add_authorities(soa(world, &zone));
        }
        Lookup::NoData { zone } => {
            response.add_authorities(soa(world, &zone));
        }
        Lookup::Found(found) => {
            for (name, rtype, answer) in found {
                match records(&name, rtype, &answer) {
                    Some(records) => {
                        response.add_answers(records);
                    }
                    // Stored, but of a type or form that this server cannot put on the wire: say so.
                    None => response.metadata.response_code = ResponseCode::ServFail,
                }
            }
        }
    }
}

fn soa(world: &World, zone: &DnsName) -> Vec<Record> {
    world.route53.soa(zone).and_then(|answer| records(zone, RrType::SOA, &answer)).unwrap_or_default()
}

/// `None` where a value cannot be written as its type.
fn records(name: &DnsName, rtype: RrType, answer: &Answer) -> Option<Vec<Record>> {
    let name = Name::from_str(name.as_str()).ok()?;
    answer
        .values
        .iter()
        .map(|value| {
            let data = rdata(rtype, value)?;
            Some(Record::from_rdata(name.clone(), answer.ttl_seconds, data))
        })
        .collect()
}

fn rdata(rtype: RrType, value: &str) -> Option<RData> {
    match rtype {
        RrType::A => Some(RData::A(A(value.parse().ok()?))),
        RrType::CNAME => Some(RData::CNAME(CNAME(absolute(value)?))),
        RrType::NS => Some(RData::NS(NS(absolute(value)?))),
        RrType::TXT => Some(RData::TXT(TXT::new(strings(value)?))),
        RrType::SOA => {
            let fields: Vec<&str> = value.split_ascii_whitespace().collect();
            let [mname, rname, serial, refresh, retry, expire, minimum] = fields.as_slice() else {
                return None;
            };
            Some(RData::SOA(SOA::new(
                absolute(mname)?,
                absolute(rname)?,
                serial.parse().ok()?,
                refresh.parse().ok()?,
                retry.parse().ok()?,
                expire.parse().ok()?,
                minimum.parse().ok()?,
            )))
        }
        _ => None,
    }
}

fn absolute(text: &str) -> Option<Name> {
    let mut name = Name::from_str(text).ok()?;
    name.set_fqdn(true);
    Some(name)
}

/// The quoted strings of a TXT value as Route 53 stores it: `"one" "two"`.
fn strings(value: &str) -> Option<Vec<String>> {
    let mut out = Vec::new();
    let mut rest = value.trim();
    while !rest.is_empty() {
        let body = rest.strip_prefix('"')?;
        let mut text = String::new();
        let mut chars = body.char_indices();
        let end = loop {
            match chars.next()? {
                (at, '"') => break at,
                (_, '\\') => text.push(chars.next()?.1),
                (_, c) => text.push(c),
            }
        };
        if 255 < text.len() {
            return None;
        }
        out.push(text);
        rest = body[end + 1..].trim_start();
    }
    (!out.is_empty()).then_some(out)
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr, SocketAddr};

    use hickory_proto::{op::Query, rr::RecordType};
    use hickory_resolver::{
        Resolver,
        config::{ConnectionConfig, NameServerConfig, ResolverConfig},
        net::runtime::TokioRuntimeProvider,
    };

    use super::*;
    use crate::sim::world::{
        SimTime,
        route53::{
            fixture::{PaymentsTraffic, RECORD_NAME, ZONE_ID, payments_traffic},
            record::RecordSet,
        },
    };

    fn world() -> World {
        let mut world = World::new(1, SimTime(1_700_000_000_000));
        payments_traffic(&mut world, &PaymentsTraffic::default());
        let mut zone = world.route53.zones()[ZONE_ID].clone();
        let mut seed = |name: &str, rtype, value: &str| {
            let name = name.parse().expect("a name");
            zone.seed(RecordSet::simple(name, rtype, 30, vec![value.to_owned()]));
        };
        seed("www.payments.example.com", RrType::CNAME, RECORD_NAME);
        seed("txt.payments.example.com", RrType::TXT, "\"one \\\"1\\\"\" \"two\"");
        let mut many = RecordSet::simple(
            "many.payments.example.com".parse().expect("a name"),
            RrType::A,
            30,
            (0..120).map(|i| format!("10.0.0.{i}")).collect(),
        );
        many.ttl_seconds = 5;
        zone.seed(many);
        world.route53.put_zone(zone);
        world
    }

    async fn start() -> (SocketAddr, Resolver<TokioRuntimeProvider>) {
        let tcp = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = tcp.local_addr().expect("an address");
        let udp = UdpSocket::bind(address).await.expect("the same port");
        let clock: crate::sim::wire::Clock = Arc::new(|| SimTime(1_700_000_000_000));
        tokio::spawn(serve(udp, tcp, SharedWorld::new(world(), clock)));
        let port = |mut connection: ConnectionConfig| {
            connection.port = address.port();
            connection
        };
        let server = NameServerConfig::new(
            IpAddr::V4(Ipv4Addr::LOCALHOST),
            true,
            vec![port(ConnectionConfig::udp()), port(ConnectionConfig::tcp())],
        );
        let config = ResolverConfig::from_parts(None, Vec::new(), vec![server]);
        let provider = TokioRuntimeProvider::default();
        let resolver = Resolver::builder_with_config(config, provider).build();
        (address, resolver.expect("a resolver"))
    }

    #[tokio::test]
    async fn a_real_resolver_reads_addresses_aliases_and_texts() {
        let (_, resolver) = start().await;
        let found = resolver.lookup(RECORD_NAME, RecordType::A).await.expect("found");
        let record = &found.answers()[0];
        assert_eq!(record.data, RData::A(A(Ipv4Addr::new(127, 0, 11, 1))));
        assert_eq!(record.ttl, 60);
        let found = resolver.lookup("www.payments.example.com.", RecordType::A).await.expect("found");
        assert_eq!(found.answers().last().map(|r| r.data.clone()), Some(record.data.clone()));
        let found = resolver.lookup("txt.payments.example.com.", RecordType::TXT).await.expect("found");
        let expected = TXT::new(vec!["one \"1\"".to_owned(), "two".to_owned()]);
        assert_eq!(found.answers()[0].data, RData::TXT(expected));
        let found = resolver.lookup("payments.example.com.", RecordType::NS).await.expect("found");
        assert_eq!(found.answers().len(), 4);
        // Too large for UDP: the resolver comes again over TCP.
        let found = resolver.lookup("many.payments.example.com.", RecordType::A).await.expect("found");
        assert_eq!(found.answers().len(), 120);
    }

    fn ask(name: &str, rtype: RecordType) -> Message {
        let mut query = Message::query();
        query.add_query(Query::query(Name::from_str(name).expect("a name"), rtype));
        let bytes = query.to_vec().expect("encodes");
        let reply = reply(&world(), View::Public, &bytes, Transport::Udp).expect("a reply");
        Message::from_vec(&reply).expect("decodes")
    }

    #[test]
    fn what_is_not_there_is_told_apart() {
        let absent = ask("absent.payments.example.com.", RecordType::A);
        assert_eq!(absent.metadata.response_code, ResponseCode::NXDomain);
        assert!(absent.metadata.authoritative);
        assert_eq!(absent.authorities[0].record_type(), RecordType::SOA);
        let no_data = ask(RECORD_NAME, RecordType::AAAA);
        assert_eq!(no_data.metadata.response_code, ResponseCode::NoError);
        assert!(no_data.answers.is_empty() && !no_data.authorities.is_empty());
        let elsewhere = ask("example.org.", RecordType::A);
        assert_eq!(elsewhere.metadata.response_code, ResponseCode::Refused);
        assert!(!elsewhere.metadata.authoritative);
        let large = ask("many.payments.example.com.", RecordType::A);
        assert!(large.metadata.truncation);
    }

    #[test]
    fn nonsense_gets_a_format_error_and_half_an_id_nothing() {
        let world = world();
        let garbage = reply(&world, View::Public, &[1, 2, 3, 4, 5], Transport::Udp).expect("a reply");
        let garbage = Message::from_vec(&garbage).expect("decodes");
        assert_eq!(garbage.metadata.response_code, ResponseCode::FormErr);
        assert_eq!(garbage.metadata.id, 0x0102);
        assert!(reply(&world, View::Public, &[1], Transport::Udp).is_none());
    }
}
