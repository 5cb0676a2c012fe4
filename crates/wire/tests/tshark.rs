//! tshark reads what we write, without a warning, and sees the same value in every field; filters match the
//! same packets. Skipped, saying so, without tshark; a failure then when CI=true.

mod sample;

use std::collections::BTreeSet;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::Command;
use wire::filter::{Field, Filter, Kind, Value, fields};
use wire::packet::Packet;

/// A file that is gone when the test ends.
struct Capture(PathBuf);

impl Capture {
    fn new(test: &str) -> Option<Capture> {
        if Command::new("tshark").arg("--version").output().is_err() {
            assert!(std::env::var("CI").as_deref() != Ok("true"), "tshark must be installed where CI=true");
            let _ = writeln!(std::io::stderr(), "SKIPPED {test}: tshark is not installed");
            return None;
        }
        let path = std::env::temp_dir().join(format!("wire-{test}-{}.pcapng", std::process::id()));
        std::fs::write(&path, sample::file()).unwrap();
        Some(Capture(path))
    }

    /// tshark's standard output; nothing else than that it runs as root may stand on its standard error.
    fn tshark(&self, args: &[&str]) -> String {
        let out = Command::new("tshark")
            .args(["-n", "-r"])
            .arg(&self.0)
            .args(["-o", "ip.defragment:FALSE", "-o", "ipv6.defragment:FALSE"])
            .args(["-o", "ip.check_checksum:TRUE", "-o", "tcp.check_checksum:TRUE"])
            .args(["-o", "udp.check_checksum:TRUE"])
            .args(args)
            .output()
            .unwrap();
        let stderr = String::from_utf8_lossy(&out.stderr);
        let complaints: Vec<_> = stderr.lines().filter(|l| !l.contains("Running as user")).collect();
        assert!(out.status.success() && complaints.is_empty(), "tshark {args:?}: {stderr}");
        String::from_utf8(out.stdout).unwrap()
    }

    fn frames_matching(&self, filter: &str) -> BTreeSet<usize> {
        let out = self.tshark(&["-Y", filter, "-T", "fields", "-e", "frame.number"]);
        out.lines().map(|l| l.trim().parse().unwrap()).collect()
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

#[test]
fn tshark_finds_nothing_malformed_and_no_wrong_checksum() {
    let Some(capture) = Capture::new("malformed") else { return };
    let all = capture.tshark(&[
        "-T",
        "fields",
        "-e",
        "frame.number",
        "-e",
        "frame.time_epoch",
        "-e",
        "frame.interface_name",
        "-e",
        "frame.comment",
    ]);
    let first = all.lines().nth(1).unwrap();
    assert_eq!(first, "2\t1.000000001\tclient:eth0\tdropped by fault 1,second comment");
    assert_eq!(all.lines().count(), sample::frames().len());
    let wrong = "_ws.malformed || _ws.short || ip.checksum.status == \"Bad\" || tcp.checksum.status == \"Bad\" \
                 || udp.checksum.status == \"Bad\" || icmp.checksum.status == \"Bad\" || icmpv6.checksum.status == \"Bad\" \
                 || igmp.checksum.status == \"Bad\" || gre.checksum.status == \"Bad\"";
    // The first fragments' UDP length and zero checksum are those of a datagram that is not here.
    let fragments = capture.frames_matching("ip.flags.mf == 1 || ipv6.fraghdr.more == 1");
    let bad: Vec<_> = capture.frames_matching(wrong).difference(&fragments).copied().collect();
    assert_eq!(bad, [0; 0], "{}", capture.tshark(&["-Y", wrong]));
}

/// Texts there, bytes here.
fn is_text(field: &Field) -> bool {
    let begins = ["http.", "dns.qry.name", "tls.handshake.extensions_server_name"];
    begins.iter().any(|b| field.name.starts_with(b))
}

/// What tshark prints for a value, brought to one form.
fn theirs(field: &Field, text: &str) -> String {
    let number = |t: &str| match t.strip_prefix("0x") {
        Some(hex) => u64::from_str_radix(hex, 16).unwrap(),
        None => t.parse().unwrap_or_else(|_| panic!("{}: {t:?}", field.name)),
    };
    match field.kind {
        Kind::Uint(_) => number(text).to_string(),
        Kind::Bool => (matches!(text, "1" | "True")).to_string(),
        Kind::Bytes if is_text(field) => text.bytes().map(|b| format!("{b:02x}")).collect(),
        Kind::Bytes => text.replace(':', ""),
        _ => text.to_owned(),
    }
}

fn ours(value: Value<'_>) -> String {
    match value {
        Value::Present => "present".into(),
        Value::Uint(v) => v.to_string(),
        Value::Bool(v) => v.to_string(),
        Value::V4(v) => v.to_string(),
        Value::V6(v) => v.to_string(),
        Value::Mac(v) => v.to_string(),
        Value::Bytes(v) => v.iter().map(|b| format!("{b:02x}")).collect(),
    }
}

/// Where tshark shows no payload by choice: on a SYN (fast open), the urgent byte, and behind a redirect.
fn undissected(packet: &Packet<'_>) -> bool {
    packet.tcp().is_some_and(|h| h.flags.syn() || h.flags.urg())
        || matches!(packet.icmpv4(), Some(wire::icmpv4::Message::Redirect { .. }))
}

#[test]
fn tshark_shows_the_same_values_in_every_field() {
    let Some(capture) = Capture::new("fields") else { return };
    let all: Vec<&Field> = fields().collect();
    let mut args = vec!["-T", "fields", "-E", "separator=/t", "-E", "aggregator=|"];
    for field in &all {
        args.extend(["-e", field.name]);
    }
    let out = capture.tshark(&args);
    let frames = sample::frames();
    assert_eq!(out.lines().count(), frames.len());
    let mut seen = BTreeSet::new();
    let mut wrong = Vec::new();
    for (n, (line, (medium, bytes))) in out.lines().zip(&frames).enumerate() {
        let packet = Packet::parse(bytes, *medium);
        for (field, text) in all.iter().zip(line.split('\t')) {
            if undissected(&packet) && matches!(field.name, "data" | "data.data" | "data.len" | "udp.payload")
            {
                continue;
            }
            let mut mine = Vec::new();
            field.values_with_quoted(&packet, &mut |v| mine.push(ours(v)));
            if !mine.is_empty() {
                seen.insert(field.name);
            }
            // Protocols are texts there; frame and data are protocols that hold bytes here.
            if field.kind == Kind::Protocol || matches!(field.name, "frame" | "data") {
                if mine.is_empty() != text.is_empty() {
                    wrong.push(format!("frame {}: {} {mine:?}, tshark {text:?}", n + 1, field.name));
                }
                continue;
            }
            let mut tshark: Vec<_> =
                text.split('|').filter(|t| !t.is_empty()).map(|t| theirs(field, t)).collect();
            tshark.sort();
            mine.sort();
            if mine != tshark {
                wrong.push(format!("frame {}: {} {mine:?}, tshark {tshark:?}", n + 1, field.name));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let unseen: Vec<_> = all.iter().map(|f| f.name).filter(|n| !seen.contains(n)).collect();
    assert_eq!(unseen, [""; 0], "every field has a value in the sample");
}

#[test]
fn filters_match_the_packets_that_tshark_matches() {
    let Some(capture) = Capture::new("filters") else { return };
    let frames = sample::frames();
    for text in [
        "ip.addr != 192.0.2.1",
        "ip.addr !== 192.0.2.1 and not arp",
        "!(ip.addr == 192.0.2.0/24) || ip.ttl in {1, 60..64} && udp",
        "udp.port in {40002..40010} and (ip.src == 203.0.113.254 or ipv6)",
        "tcp.flags & 0x02 && !tcp.options.tfo",
        "tcp.flags.syn == 1 && tcp.flags.ack == True",
        "tcp.flags.urg",
        "tcp.len > 0 or data.len >= 5",
        "frame contains \"hello\"",
        "tcp.options.timestamp.tsval == 4294967295 and tcp.options.sack.count ge 2",
        "eth.src[4:2] == 00:0a && arp.src.proto_ipv4 == arp.dst.proto_ipv4",
        "ipv6.addr == 2001:db8::/48 and icmpv6.type lt 128",
        "dns.qry.name == \"www.example\" and dns.flags.response == 0",
        "dns.flags.rcode == 0 && dns.a == 192.0.2.0/24",
        "tls.handshake.type == 1 or tls.alert_message.desc == 48",
        "tls.handshake.extensions_server_name contains \"shop\"",
        "http.request.method == \"GET\" || http.response.code >= 400",
        "http.request",
        "http2.type == 4",
        "quic.long.packet_type == 2",
        "vlan.id == 200 or vxlan.vni == 42 or gre.key == 5",
    ] {
        let filter = Filter::parse(text).unwrap();
        let matching =
            |(medium, bytes): &(wire::Medium, Vec<u8>)| filter.matches(&Packet::parse(bytes, *medium));
        let mine: BTreeSet<usize> =
            frames.iter().enumerate().filter(|(_, f)| matching(f)).map(|(i, _)| i + 1).collect();
        assert!(!mine.is_empty(), "{text} matches nothing in the sample");
        assert_eq!(mine, capture.frames_matching(text), "{text}");
    }
}
