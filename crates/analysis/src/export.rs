//! A journal as pcapng: one interface block per NIC, every packet as each NIC saw it, with its number, its
//! fate and the explanation's sentences as packet comments.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};

use stack::record::{Journal, NodeKind, What};
use wire::capture::LinkType;
use wire::pcapng::{Direction, PacketInfo, SecretsType, SectionInfo, Writer};

use crate::explain::{Explanation, explain_traffic};
use crate::ladder::events_words::loss_words;
use crate::traffic::{Traffic, Transmission};

/// What the files name as the program that wrote them.
pub const APPLICATION: &str = "wirelab";

/// Writes a journal with its own explanation: every packet as each interface saw it.
pub fn pcapng<W: Write>(journal: &Journal, out: W) -> io::Result<W> {
    write(journal, None, out)
}

/// Writes what one host's interfaces saw, as a capture taken there: a whole journal has most packets twice, at their
/// sender and at their receiver, which Wireshark takes for retransmissions.
pub fn pcapng_of<W: Write>(journal: &Journal, host: &str, out: W) -> io::Result<W> {
    write(journal, Some(host), out)
}

fn write<W: Write>(journal: &Journal, host: Option<&str>, out: W) -> io::Result<W> {
    let traffic = Traffic::of(journal);
    pcapng_explained(journal, &traffic, &explain_traffic(journal, &traffic), host, out)
}

/// Writes a journal whose packets have been followed and explained already: all of it, or what one host saw.
pub fn pcapng_explained<W: Write>(
    journal: &Journal,
    traffic: &Traffic,
    explanation: &Explanation,
    host: Option<&str>,
    out: W,
) -> io::Result<W> {
    let os = journal.nodes.iter().map(|n| match &n.kind {
        NodeKind::Linux(release) => format!("Linux {release}"),
        NodeKind::Stack | NodeKind::Switch | NodeKind::Seen => String::new(),
    });
    let os = os.filter(|s| !s.is_empty()).min().unwrap_or_default();
    let section = SectionInfo { application: APPLICATION, os: &os, ..SectionInfo::default() };
    let mut writer = Writer::new(out, &section)?;
    let mut interfaces: BTreeMap<(u32, u32), u32> = BTreeMap::new();
    let wanted = |info: &stack::record::NodeInfo| host.is_none_or(|host| info.name == host);
    for (node, info) in journal.nodes.iter().enumerate().filter(|(_, info)| wanted(info)) {
        let node = u32::try_from(node).expect("NodeId is 32 bits");
        for iface in &info.ifaces {
            let name = format!("{}:{}", info.name, iface.name);
            let number = writer.interface(&name, &describe(info), LinkType::of(iface.medium))?;
            interfaces.insert((node, iface.ifindex), number);
        }
    }
    let names: Vec<_> = journal
        .nodes
        .iter()
        .filter(|n| n.kind != NodeKind::Seen)
        .flat_map(|n| n.ifaces.iter().flat_map(|i| i.addrs.iter()).map(|(a, _)| (*a, n.name.as_str())))
        .filter(|(a, _)| !a.is_loopback())
        .collect();
    if !names.is_empty() {
        writer.names(names)?;
    }
    // Before the packets that they decrypt (draft-ietf-opsawg-pcapng §4.7). Both ends may tell the same secret.
    let mut told = BTreeSet::new();
    let mut secrets = String::new();
    for r in &journal.records {
        if let What::KeyLog { line } = &r.what
            && told.insert(line.as_str())
        {
            secrets.push_str(line);
            secrets.push('\n');
        }
    }
    if !secrets.is_empty() {
        writer.secrets(SecretsType::TLS_KEY_LOG, secrets.as_bytes())?;
    }
    let mut about: BTreeMap<u32, Vec<&str>> = BTreeMap::new();
    for sentence in &explanation.sentences {
        // A sentence stands at the first packet it is about, not at all of them.
        let first = sentence.refs.iter().find_map(|r| match r {
            crate::explain::Ref::Packet(n) => Some(*n),
            crate::explain::Ref::Record(_) => None,
        });
        if let Some(n) = first {
            about.entry(n).or_default().push(&sentence.text);
        }
    }
    for r in &journal.records {
        let (ifindex, id, frame, direction) = match &r.what {
            What::Tx { ifindex, id, frame } => (ifindex, id, frame, Direction::Outbound),
            What::Rx { ifindex, id, frame } => (ifindex, id, frame, Direction::Inbound),
            _ => continue,
        };
        let Some(&interface) = interfaces.get(&(r.node.0, *ifindex)) else { continue };
        let comments = match traffic.get(*id) {
            Some(t) => {
                let mut all = vec![format!("#{} (frame {})", t.number, id.0)];
                all.extend(fate(t, direction, r.node.0));
                if (direction == Direction::Outbound || host.is_some()) && t.id == *id {
                    all.extend(about.get(&t.number).into_iter().flatten().map(ToString::to_string));
                }
                all
            }
            None => Vec::new(),
        };
        let comments: Vec<&str> = comments.iter().map(String::as_str).collect();
        let info = PacketInfo { interface, at: r.at, direction, original_len: 0, comments: &comments };
        writer.frame(&info, frame)?;
    }
    writer.finish()
}

fn describe(node: &stack::record::NodeInfo) -> String {
    match &node.kind {
        NodeKind::Stack => "wirelab stack".to_string(),
        NodeKind::Linux(release) => format!("Linux {release}"),
        NodeKind::Switch => "switch".to_string(),
        NodeKind::Seen => String::new(),
    }
}

/// What became of a packet, where it is of interest: losses and alterations at its sender, drops where
/// they happened.
fn fate(t: &Transmission, direction: Direction, node: u32) -> Vec<String> {
    if direction == Direction::Outbound && t.from.0 == node {
        let losses = t.losses.iter().map(|l| loss_words(&l.cause));
        return losses.chain(t.altered.iter().map(|(_, how)| how.clone())).collect();
    }
    let here = t.drops.iter().filter(|d| d.node.0 == node);
    here.map(|d| format!("drop {}: {}", d.reason.name(), d.reason.meaning())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::build::*;
    use stack::record::LossCause;

    #[test]
    fn every_nic_sees_its_packets_with_direction_and_comments() {
        let mut journal = arp_resolution();
        let id = stack::record::FrameId(3);
        journal.records.push(stack::record::Record {
            at: journal.end,
            node: stack::record::NodeId(0),
            what: What::Lost { id, cause: LossCause::Fault(0) },
        });
        let bytes = pcapng(&journal, Vec::new()).expect("a Vec takes everything");
        let capture = wire::capture::read(&bytes).expect("readable");
        assert_eq!(capture.application, "wirelab");
        let names: Vec<&str> = capture.interfaces.iter().map(|i| i.name.as_str()).collect();
        assert_eq!(names, ["client:eth0", "server:eth0"]);
        assert_eq!(capture.packets.len(), 6);
        assert_eq!(capture.packets[0].direction, Direction::Outbound);
        assert_eq!(capture.packets[1].direction, Direction::Inbound);
        assert_eq!(capture.packets[0].comments[0], "#1 (frame 1)");
        assert!(capture.packets[0].comments[1].starts_with("client did not know 192.0.2.2's"));
        assert_eq!(capture.packets[4].comments[1], "dropped by fault 1");
    }

    #[test]
    fn one_host_saw_each_packet_once() {
        let bytes = pcapng_of(&arp_resolution(), "server", Vec::new()).expect("a Vec takes everything");
        let capture = wire::capture::read(&bytes).expect("readable");
        let names: Vec<&str> = capture.interfaces.iter().map(|i| i.name.as_str()).collect();
        assert_eq!(names, ["server:eth0"]);
        let directions: Vec<Direction> = capture.packets.iter().map(|p| p.direction).collect();
        assert_eq!(directions, [Direction::Inbound, Direction::Outbound, Direction::Inbound]);
        assert!(
            capture.packets[0].comments[1].starts_with("client did not know"),
            "{:?}",
            capture.packets[0]
        );
    }

    #[test]
    fn tshark_reads_it_without_a_warning() {
        let bytes = pcapng(&arp_resolution(), Vec::new()).expect("a Vec takes everything");
        let path = std::env::temp_dir().join(format!("wirelab-analysis-{}.pcapng", std::process::id()));
        std::fs::write(&path, bytes).expect("the temporary directory is writable");
        let run = std::process::Command::new("tshark")
            .args([
                "-n",
                "-o",
                "udp.check_checksum:FALSE",
                "-T",
                "fields",
                "-e",
                "_ws.expert.severity",
                "-e",
                "_ws.malformed",
            ])
            .args(["-e", "frame.interface_name", "-e", "frame.comment", "-r"])
            .arg(&path)
            .output();
        let _ = std::fs::remove_file(&path);
        let Ok(run) = run else {
            assert_ne!(std::env::var("CI").as_deref(), Ok("true"), "tshark must be installed where CI=true");
            eprintln!("skipped: tshark is not installed");
            return;
        };
        let (out, err) = (String::from_utf8_lossy(&run.stdout), String::from_utf8_lossy(&run.stderr));
        assert!(run.status.success(), "{err}");
        let complaints = err.lines().filter(|l| !l.is_empty() && !l.contains("Running as user")).count();
        assert_eq!(complaints, 0, "{err}");
        assert_eq!(out.lines().count(), 6, "{out}");
        // Our comments are expert infos too, of the lowest severity (PI_COMMENT); nothing may be above it.
        let severities = out.lines().flat_map(|l| l.split('\t').next().unwrap_or("").split(','));
        assert!(severities.clone().all(|s| s == "1048576"), "{out}");
        assert!(out.lines().all(|l| l.split('\t').nth(1) == Some("")), "malformed: {out}");
        assert!(out.contains("client:eth0") && out.contains("#1 (frame 1)"), "{out}");
    }
}
