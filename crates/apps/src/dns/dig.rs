//! `dig`: one question to one server, and the reply as BIND's dig prints it (bin/dig/dig.c printmessage(), received()). What
//! needs a wall clock (`WHEN`) or a secret of the client (`COOKIE`) is left out; "Query time" is the lab's time.

use core::time::Duration;
use std::any::Any;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use hickory_proto::op::Message;
use hickory_proto::rr::{Name, RData, Record, RecordType};
use net::UdpSocket;
use tokio::time::{Instant, timeout};

use super::exchange::{answers, any, tcp};
use super::message::{self, EDNS_UDP, edns, query, rcode, rdata};
use super::random::Random;
use super::resolv_conf::ResolvConf;
use super::stub::Stub;
use crate::{App, AppFuture, CommandError, Cx, Env, Ready};

/// `dig`, as its words say.
#[derive(Clone, Debug)]
pub struct Dig {
    words: Vec<String>,
    server: Option<String>,
    port: u16,
    name: Name,
    kind: RecordType,
    over_tcp: bool,
    short: bool,
    trace: bool,
    recurse: bool,
    edns: Option<u16>,
    ignore_truncation: bool,
    time: Duration,
    tries: u32,
    show: Show,
}

/// `+[no]question`, `+[no]answer`, …
#[derive(Clone, Copy, Debug)]
struct Show {
    cmd: bool,
    comments: bool,
    question: bool,
    answer: bool,
    authority: bool,
    additional: bool,
    stats: bool,
}

impl Show {
    const fn all(on: bool) -> Show {
        Show { cmd: on, comments: on, question: on, answer: on, authority: on, additional: on, stats: on }
    }
}

/// Referrals that `+trace` follows.
const TRACE: usize = 30;

/// Reads `dig [@server] [-p port] [-t type] [-x address] [name] [type] [class] [+option…]`.
///
/// # Errors
/// The word that means nothing.
pub fn command(words: &[String], _: &Env) -> Result<Ready, CommandError> {
    let mut dig = Dig {
        words: words.to_vec(),
        server: None,
        port: 53,
        name: Name::root(),
        kind: RecordType::NS,
        over_tcp: false,
        short: false,
        trace: false,
        recurse: true,
        edns: Some(EDNS_UDP),
        ignore_truncation: false,
        time: Duration::from_secs(5),
        tries: 3,
        show: Show::all(true),
    };
    let (mut name, mut kind) = (None, None);
    let mut at = 1;
    while let Some(word) = words.get(at) {
        let wrong = |message: String| CommandError { word: at, message, help: None };
        let value = || {
            let missing =
                CommandError { word: at + 1, message: format!("`{word}` needs a value"), help: None };
            words.get(at + 1).ok_or(missing)
        };
        if let Some(server) = word.strip_prefix('@') {
            dig.server = Some(server.into());
        } else if let Some(option) = word.strip_prefix('+') {
            dig.option(option).map_err(wrong)?;
        } else if word == "-x" {
            let ip: IpAddr = value()?.parse().map_err(|_| wrong("`-x` needs an IP address".into()))?;
            name = Some(arpa(ip));
            kind = Some(RecordType::PTR);
            at += 1;
        } else if word == "-t" {
            kind = Some(record_type(value()?).ok_or_else(|| wrong("this record type is not known".into()))?);
            at += 1;
        } else if word == "-p" {
            dig.port = value()?.parse().map_err(|_| wrong("`-p` needs a port".into()))?;
            at += 1;
        } else if let Some(other) = word.strip_prefix('-') {
            return Err(wrong(format!("dig's option `-{other}` is not modelled")));
        } else if let Some(found) = record_type(word).filter(|_| kind.is_none()) {
            kind = Some(found);
        } else if !word.eq_ignore_ascii_case("in") {
            let mut parsed =
                Name::from_ascii(word).map_err(|e| wrong(format!("`{word}` is no domain name: {e}")))?;
            parsed.set_fqdn(true);
            name = Some(parsed);
        }
        at += 1;
    }
    dig.kind = kind.unwrap_or(if name.is_some() { RecordType::A } else { RecordType::NS });
    dig.name = name.unwrap_or_else(Name::root);
    Ok(Arc::new(dig))
}

/// A record type by name, if it is one.
fn record_type(word: &str) -> Option<RecordType> {
    let upper = word.to_ascii_uppercase();
    upper.parse().ok().filter(|kind| *kind != RecordType::ZERO)
}

/// The name under which an address is looked up in reverse (RFC 1035 §3.5, RFC 3596 §2.5).
pub(crate) fn arpa(ip: IpAddr) -> Name {
    let mut name = Name::from(ip);
    name.set_fqdn(true);
    name
}

impl Dig {
    fn option(&mut self, option: &str) -> Result<(), String> {
        let (name, value) = option.split_once('=').unwrap_or((option, ""));
        let (on, plain) = match name.strip_prefix("no") {
            Some(plain) => (false, plain),
            None => (true, name),
        };
        let number = || value.parse::<u32>().map_err(|_| format!("`+{name}` needs a number: +{name}=3"));
        match plain {
            "tcp" | "vc" => self.over_tcp = on,
            "short" => self.short = on,
            "trace" => self.trace = on,
            "recurse" | "rec" => self.recurse = on,
            "edns" => self.edns = on.then_some(EDNS_UDP),
            "bufsize" => {
                let size = number()?;
                self.edns = Some(u16::try_from(size).map_err(|_| "`+bufsize` is 65535 at most".to_string())?);
            }
            "ignore" => self.ignore_truncation = on,
            "time" | "timeout" => self.time = Duration::from_secs(number()?.max(1).into()),
            "tries" => self.tries = number()?.clamp(1, 100),
            "retry" => self.tries = number()?.min(99) + 1,
            "all" => self.show = Show::all(on),
            "cmd" => self.show.cmd = on,
            "comments" => self.show.comments = on,
            "question" => self.show.question = on,
            "answer" => self.show.answer = on,
            "authority" => self.show.authority = on,
            "additional" => self.show.additional = on,
            "stats" => self.show.stats = on,
            "cookie" if !on => {}
            _ => return Err(format!("dig's option `+{option}` is not modelled")),
        }
        Ok(())
    }

    /// The servers to ask: those of the command, of the host's resolver, or of the machine's file.
    async fn servers(&self) -> Result<Vec<IpAddr>, String> {
        match &self.server {
            Some(server) => {
                let found = net::lookup_host((server.as_str(), self.port)).await;
                let addresses: Vec<IpAddr> =
                    found.map(|all| all.map(|at| at.ip()).collect()).unwrap_or_default();
                if addresses.is_empty() {
                    return Err(format!("dig: couldn't get address for '{server}': not found"));
                }
                Ok(addresses)
            }
            None => Ok(configured().nameservers),
        }
    }

    /// Asks one server; the time it took.
    async fn ask(&self, random: &mut Random, server: SocketAddr, recurse: bool) -> Result<Reply, Missing> {
        let make = |random: &mut Random| {
            let mut asked = query(random.bits16(), self.name.clone(), self.kind, recurse);
            asked.metadata.authentic_data = true;
            if let Some(size) = self.edns {
                asked.set_edns(edns(size));
            }
            asked
        };
        let mut why = Missing::TimedOut;
        if !self.over_tcp {
            for _ in 0..self.tries {
                let asked = make(random);
                let start = Instant::now();
                match timeout(self.time, over_udp(server, &asked)).await {
                    Err(_) => why = Missing::TimedOut,
                    Ok(Err(error)) => why = Missing::Broken(error),
                    Ok(Ok((reply, size))) => {
                        if reply.metadata.truncation && !self.ignore_truncation {
                            break;
                        }
                        return Ok(Reply {
                            reply,
                            size,
                            took: start.elapsed(),
                            transport: "UDP",
                            truncated: false,
                        });
                    }
                }
            }
        }
        let truncated = !self.over_tcp && matches!(why, Missing::TimedOut);
        if !self.over_tcp && !truncated {
            return Err(why);
        }
        self.ask_tcp(server, make(random), truncated).await
    }

    async fn ask_tcp(&self, server: SocketAddr, asked: Message, truncated: bool) -> Result<Reply, Missing> {
        let start = Instant::now();
        match timeout(self.time.max(Duration::from_secs(10)), tcp(server, &asked)).await {
            Err(_) => Err(Missing::TimedOut),
            Ok(Err(error)) => Err(Missing::Broken(error)),
            Ok(Ok(reply)) => {
                let size = reply.to_vec().map_or(0, |bytes| bytes.len());
                Ok(Reply { reply, size, took: start.elapsed(), transport: "TCP", truncated })
            }
        }
    }

    fn print_reply(&self, cx: &Cx, server: SocketAddr, got: &Reply) {
        let Reply { reply, size, took, transport, truncated } = got;
        if *truncated {
            cx.print(";; Truncated, retrying in TCP mode.");
        }
        if self.short {
            return reply.answers.iter().for_each(|record| cx.print(rdata(&record.data)));
        }
        let mut out = String::new();
        if self.show.cmd {
            out.push_str(&format!("\n; <<>> wirelab dig <<>> {}\n", self.words[1..].join(" ")));
            if self.server.is_some() {
                out.push_str("; (1 server found)\n");
            }
            out.push_str(";; global options: +cmd\n");
        }
        if self.show.comments {
            out.push_str(";; Got answer:\n");
            header(&mut out, reply, self.recurse);
        }
        self.sections(&mut out, reply);
        if self.show.stats {
            out.push_str(&format!(";; Query time: {} msec\n", took.as_millis()));
            let (ip, port) = (server.ip(), server.port());
            out.push_str(&format!(
                ";; SERVER: {ip}#{port}({}) ({transport})\n",
                self.server.clone().unwrap_or(ip.to_string())
            ));
            out.push_str(&format!(";; MSG SIZE  rcvd: {size}\n"));
        }
        cx.print(out);
    }

    fn sections(&self, out: &mut String, reply: &Message) {
        if self.show.question {
            if self.show.comments {
                out.push_str(";; QUESTION SECTION:\n");
            }
            for question in &reply.queries {
                // The semicolon does not count.
                let name = question.name.to_ascii();
                let columns = [(name.as_str(), 24), ("", 8), ("IN", 8)];
                out.push_str(&format!(";{}{}\n", tabs(&columns), question.query_type));
            }
            if self.show.comments {
                out.push('\n');
            }
        }
        for (title, records, show) in [
            ("ANSWER", &reply.answers, self.show.answer),
            ("AUTHORITY", &reply.authorities, self.show.authority),
            ("ADDITIONAL", &reply.additionals, self.show.additional),
        ] {
            if records.is_empty() || !show {
                continue;
            }
            if self.show.comments {
                out.push_str(&format!(";; {title} SECTION:\n"));
            }
            for record in records {
                out.push_str(&record_line(record));
                out.push('\n');
            }
            if self.show.comments {
                out.push('\n');
            }
        }
    }

    /// `+trace`: from the root servers that the resolver names, down.
    async fn run_trace(&self, cx: &Cx, random: &mut Random) -> i32 {
        let mut servers = match self.servers().await {
            Ok(servers) => servers,
            Err(message) => {
                cx.print(message);
                return 10;
            }
        };
        let roots = Dig { name: Name::root(), kind: RecordType::NS, trace: false, ..self.clone() };
        let mut step = &roots;
        let mut recurse = true;
        cx.print(format!("\n; <<>> wirelab dig <<>> {}\n;; global options: +cmd", self.words[1..].join(" ")));
        for _ in 0..TRACE {
            let Some(&ip) = servers.first() else { break };
            let server = SocketAddr::new(ip, self.port);
            let Ok(got) = step.ask(random, server, recurse).await else {
                cx.print(";; no servers could be reached");
                return 9;
            };
            for record in got.reply.answers.iter().chain(&got.reply.authorities) {
                cx.print(record_line(record));
            }
            let (size, took) = (got.size, got.took.as_millis());
            cx.print(format!(";; Received {size} bytes from {ip}#{}({ip}) in {took} ms\n\n", self.port));
            if got.reply.answers.is_empty() == recurse || (!recurse && !referral(&got.reply)) {
                break;
            }
            let section = if recurse { &got.reply.answers } else { &got.reply.authorities };
            let names = section.iter().filter_map(|record| match &record.data {
                RData::NS(ns) => Some(ns.0.clone()),
                _ => None,
            });
            servers = self.addresses_of(names.collect(), &got.reply).await;
            step = self;
            recurse = false;
        }
        0
    }

    async fn addresses_of(&self, names: Vec<Name>, reply: &Message) -> Vec<IpAddr> {
        for name in names {
            let glue = reply.additionals.iter().filter(|record| record.name == name);
            let known: Vec<IpAddr> = glue.filter_map(ip_of).collect();
            if !known.is_empty() {
                return known;
            }
            if let Ok(found) = net::lookup_host((message::bare(&name), self.port)).await {
                return found.map(|at| at.ip()).collect();
            }
        }
        Vec::new()
    }
}

fn ip_of(record: &Record) -> Option<IpAddr> {
    match &record.data {
        RData::A(a) => Some(a.0.into()),
        RData::AAAA(aaaa) => Some(aaaa.0.into()),
        _ => None,
    }
}

fn referral(reply: &Message) -> bool {
    reply.answers.is_empty() && reply.authorities.iter().any(|record| record.record_type() == RecordType::NS)
}

/// The `resolv.conf` of the host, or of the machine.
pub(crate) fn configured() -> ResolvConf {
    match net::Host::current() {
        Some(host) => {
            let resolver = host.resolver().map(|resolver| resolver as Arc<dyn Any + Send + Sync>);
            let stub = resolver.and_then(|resolver| resolver.downcast::<Stub>().ok());
            stub.map(|stub| stub.conf().clone()).unwrap_or_default()
        }
        None => {
            let text = std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
            ResolvConf::parse(text.lines()).0
        }
    }
}

struct Reply {
    reply: Message,
    size: usize,
    took: Duration,
    transport: &'static str,
    truncated: bool,
}

enum Missing {
    TimedOut,
    Broken(std::io::Error),
}

async fn over_udp(server: SocketAddr, asked: &Message) -> std::io::Result<(Message, usize)> {
    let socket = UdpSocket::bind(SocketAddr::new(any(server), 0)).await?;
    socket.connect(server).await?;
    socket.send(&asked.to_vec().map_err(std::io::Error::other)?).await?;
    let mut buffer = vec![0; message::LONGEST];
    loop {
        let n = socket.recv(&mut buffer).await?;
        if let Ok(reply) = Message::from_vec(&buffer[..n])
            && answers(asked, &reply)
        {
            return Ok((reply, n));
        }
    }
}

fn header(out: &mut String, reply: &Message, recursion_wanted: bool) {
    let m = &reply.metadata;
    let opcode = format!("{:?}", m.op_code).to_ascii_uppercase();
    out.push_str(&format!(
        ";; ->>HEADER<<- opcode: {opcode}, status: {}, id: {}\n",
        rcode(m.response_code),
        m.id
    ));
    let flags = [
        (true, "qr"),
        (m.authoritative, "aa"),
        (m.truncation, "tc"),
        (m.recursion_desired, "rd"),
        (m.recursion_available, "ra"),
        (m.authentic_data, "ad"),
        (m.checking_disabled, "cd"),
    ];
    let flags: Vec<&str> = flags.into_iter().filter(|(set, _)| *set).map(|(_, name)| name).collect();
    let (q, an, ns) = (reply.queries.len(), reply.answers.len(), reply.authorities.len());
    let ar = reply.additionals.len() + usize::from(reply.edns.is_some());
    let counts = format!("QUERY: {q}, ANSWER: {an}, AUTHORITY: {ns}, ADDITIONAL: {ar}");
    out.push_str(&format!(";; flags: {}; {counts}\n", flags.join(" ")));
    if recursion_wanted && m.recursion_desired && !m.recursion_available {
        out.push_str(";; WARNING: recursion requested but not available\n");
    }
    out.push('\n');
    if let Some(edns) = &reply.edns {
        let dnssec = if edns.flags().dnssec_ok { " do" } else { "" };
        let (version, size) = (edns.version(), edns.max_payload());
        out.push_str(";; OPT PSEUDOSECTION:\n");
        out.push_str(&format!("; EDNS: version: {version}, flags:{dnssec}; udp: {size}\n"));
    }
}

/// Words at tab stops, as BIND's master file style has them: each is followed by tabs up to its column, one at least; an
/// empty one only takes its place.
fn tabs(columns: &[(&str, usize)]) -> String {
    let mut line = String::new();
    let mut stop = 0;
    let mut at = 0;
    for (word, width) in columns {
        line.push_str(word);
        at += word.len();
        stop += width;
        if at >= stop && !word.is_empty() {
            line.push('\t');
            at = at / 8 * 8 + 8;
        }
        while at < stop {
            line.push('\t');
            at = at / 8 * 8 + 8;
        }
    }
    line
}

/// A record as dig prints it.
pub(crate) fn record_line(record: &Record) -> String {
    let (name, ttl) = (record.name.to_ascii(), record.ttl.to_string());
    let kind = record.record_type().to_string();
    let class = record.dns_class.to_string();
    let columns = [(name.as_str(), 24), (ttl.as_str(), 8), (class.as_str(), 8), (kind.as_str(), 8)];
    format!("{}{}", tabs(&columns), rdata(&record.data))
}

impl App for Dig {
    fn run(self: Arc<Self>, cx: Cx) -> AppFuture {
        Box::pin(async move {
            let mut random = Random::new(cx.seed("dig"));
            if self.trace {
                return self.run_trace(&cx, &mut random).await;
            }
            let servers = match self.servers().await {
                Ok(servers) => servers,
                Err(message) => {
                    cx.print(message);
                    return 10;
                }
            };
            for ip in servers {
                let server = SocketAddr::new(ip, self.port);
                let why = match self.ask(&mut random, server, self.recurse).await {
                    Ok(got) => {
                        self.print_reply(&cx, server, &got);
                        return 0;
                    }
                    Err(why) => why,
                };
                let at = format!("{ip}#{}", self.port);
                match why {
                    Missing::TimedOut => cx.print(format!(";; communications error to {at}: timed out")),
                    Missing::Broken(error) => {
                        let text = error.to_string().to_ascii_lowercase();
                        let text = text.split(" (os error").next().unwrap_or_default();
                        cx.print(format!(";; communications error to {at}: {text}"));
                    }
                }
            }
            cx.print(";; no servers could be reached");
            9
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_stand_where_bind_puts_them() {
        let columns = |name| tabs(&[(name, 24), ("300", 8), ("IN", 8), ("A", 8)]);
        assert_eq!(columns("www.example."), "www.example.\t\t300\tIN\tA\t");
        assert_eq!(columns("."), ".\t\t\t300\tIN\tA\t");
        assert_eq!(
            columns("a-name-that-is-long.example."),
            "a-name-that-is-long.example. 300\tIN\tA\t".replace(". ", ".\t")
        );
        let question = |name| tabs(&[(name, 24), ("", 8), ("IN", 8)]);
        assert_eq!(question("www.example."), "www.example.\t\t\tIN\t");
        assert_eq!(question("1.2.0.192.in-addr.arpa."), "1.2.0.192.in-addr.arpa.\t\tIN\t");
        assert_eq!(question("deep.child.shop.example."), "deep.child.shop.example.\tIN\t");
    }

    #[test]
    fn words_that_mean_nothing_are_told_with_their_place() {
        let words = |line: &str| line.split(' ').map(String::from).collect::<Vec<_>>();
        let error = |line: &str| command(&words(line), &Env::default()).unwrap_err();
        assert_eq!(error("dig www.example +fancy").word, 2);
        assert_eq!(error("dig -x 300.1.1.1").word, 1);
        assert_eq!(error("dig -p").word, 2);
        assert!(command(&words("dig @192.0.2.53 -x 192.0.2.1 +short +tcp"), &Env::default()).is_ok());
    }
}
