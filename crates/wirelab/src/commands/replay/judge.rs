//! Runs an experiment and holds its packets to the trace.

use std::collections::BTreeMap;

use scenario::{Outcome, Overrides, Targets};
use stack::Granularity;
use stack::record::{Journal, Record, What};
use traces::{Conns, Differences, Do, Mark, Packet, Tolerance, packets};
use wire::ethernet;
use wire::ip::Protocol;
use wire::tcp;

use super::experiment::{Experiment, HOSTS};

/// A wheel's step is an eighth of the wait, and where the kernel's clock stood in it is an accident of its boot; ticks are
/// rounded up, and the trace's stamps too.
const TOLERANCE: Tolerance = Tolerance { seconds: 0.0125, share: 0.135 };
/// Pause after a section when the script does not say.
const GAP: f64 = 0.3;

/// What came of an experiment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// The same packets at the same times.
    Reproduced,
    /// Where not, the first first.
    Differs(Vec<String>),
    /// Why it was not run.
    Inexpressible(String),
}

/// The experiment's file, once it is known when its sections begin: each is run on our stack first.
pub(super) fn prepare(experiment: &mut Experiment) -> Result<String, String> {
    if let Some(why) = experiment.inexpressible() {
        return Err(why);
    }
    let shown = experiment.script.map.first().copied().unwrap_or(0);
    while experiment.begins.len() < experiment.sections() {
        let section = experiment.begins.len() - 1;
        let outcome = run(&experiment.file("sleep 1s")?, &Targets::stack())?;
        let done = |r: &&Record| matches!(r.what, What::Return { .. } | What::Admin { .. });
        let last = outcome.journal.records.iter().filter(done).map(|r| r.at.as_secs_f64());
        let end = last.fold(experiment.begins[section], f64::max);
        let gap = experiment.script.gaps.get(section).copied().unwrap_or(GAP);
        if section < shown {
            for p in seen(&outcome.journal).iter().filter(|p| p.at <= end) {
                experiment.unseen[p.from] += usize::from(p.at >= experiment.begins[section]);
            }
        }
        experiment.begins.push(end + gap);
    }
    experiment.file("sleep 1h")
}

fn run(text: &str, targets: &Targets) -> Result<Outcome, String> {
    let told = |all: Vec<scenario::Diagnostic>| {
        all.first()
            .map_or_else(String::new, |d| d.render(false).lines().next().unwrap_or_default().to_owned())
    };
    let file = scenario::file::parse(text, "experiment").map_err(told)?;
    let plan = scenario::plan(&file, &Overrides::default()).map_err(told)?;
    // On our stack with the clock of the traces' kernel.
    scenario::run_on_wheel(&plan, targets, Granularity::Wheel { hz: linux::uml::HZ })
        .map_err(|e| e.to_string())
}

/// Runs the experiment whole.
pub(super) fn judge(experiment: &mut Experiment, targets: &Targets) -> Answer {
    let text = match prepare(experiment) {
        Ok(text) => text,
        Err(why) => return Answer::Inexpressible(why),
    };
    let outcome = match run(&text, targets) {
        Ok(outcome) => outcome,
        Err(why) => return Answer::Inexpressible(why),
    };
    let mut found = Differences::default();
    let (begins, end) = (&experiment.begins, experiment.end());
    let hidden = hidden(experiment);
    let mut ours = seen(&outcome.journal);
    ours.retain(|p| p.at <= end && !hidden.iter().any(|(from, to)| (*from..*to).contains(&p.at)));
    for p in &mut ours {
        p.section = begins.iter().rposition(|b| *b <= p.at + 1e-9).unwrap_or(0);
    }
    let timed = ours.iter().map(|p| (p.at - begins[p.section], p));
    packets(&experiment.trace, &experiment.script.map, timed, TOLERANCE, &mut found);
    for program in &outcome.programs {
        let waits = |f: &&String| !f.contains("at the end of the run");
        for failure in program.failures.iter().filter(waits) {
            found.say(format!("{}: {failure}", program.host));
        }
    }
    if found.texts.is_empty() { Answer::Reproduced } else { Answer::Differs(found.texts) }
}

/// When the lab did not look at packets.
fn hidden(experiment: &Experiment) -> Vec<(f64, f64)> {
    let mut windows: Vec<(f64, f64)> = Vec::new();
    for step in &experiment.script.steps {
        let at = experiment.begins[step.section] + step.at;
        match step.what {
            Do::Hide(true) => windows.push((at, f64::MAX)),
            Do::Hide(false) => {
                if let Some(last) = windows.last_mut() {
                    last.1 = at;
                }
            }
            _ => {}
        }
    }
    windows
}

/// The segments that both hosts sent, their numbers relative as the trace's are; times of the run.
fn seen(journal: &Journal) -> Vec<Packet> {
    let mut conns = Conns::default();
    let mut isn: BTreeMap<(usize, usize), u32> = BTreeMap::new();
    let mut seen = Vec::new();
    for record in &journal.records {
        let What::Tx { frame, .. } = &record.what else { continue };
        let name = journal.nodes[record.node.0 as usize].name.as_str();
        let Some(from) = HOSTS.iter().position(|h| *h == name) else { continue };
        let bytes = frame.to_vec();
        let Ok((_, start)) = ethernet::Header::parse(&bytes) else { continue };
        let Ok((ip, n)) = wire::ipv4::Header::parse(&bytes[start..]) else { continue };
        let total = start + usize::from(ip.total_len);
        if ip.protocol != Protocol::TCP || total > bytes.len() {
            continue;
        }
        let Ok((header, h)) = tcp::Header::parse(&bytes[start + n..total]) else { continue };
        let ports = (header.src_port, header.dst_port);
        let flags = header.flags.to_string();
        let conn = conns.of(from, ports, &flags);
        if header.flags.syn() {
            isn.insert((conn, from), header.seq.0);
        }
        // A connection of the same ports before it may be the one that still answers.
        let isn_of = |host: usize| {
            let same = (0..=conn).rev().filter(|c| conns.ports(*c) == conns.ports(conn));
            same.filter_map(|c| isn.get(&(c, host)).copied()).next().unwrap_or(0)
        };
        let (mine, theirs) = (isn_of(from), isn_of(1 - from));
        let relative = |n: tcp::SeqNum| n.0.wrapping_sub(theirs);
        let sack = header.options.sack().iter().map(|b| (relative(b.left), relative(b.right))).collect();
        seen.push(Packet {
            at: record.at.as_secs_f64(),
            section: 0,
            from,
            ports,
            flags,
            seq: header.seq.0.wrapping_sub(mine),
            ack: header.flags.ack().then(|| relative(header.ack)),
            len: total - start - n - h,
            sack,
            mark: Mark::Pass,
            states: [None, None],
            text: String::new(),
        });
    }
    seen
}
