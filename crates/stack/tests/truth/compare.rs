//! Holds a run to its trace: packets by connection and direction, results of calls, counters.

use stack::call::{CallResult, OptValue, Ret};

use traces::{Differences, Script, Tolerance, Trace, packets};

use super::lab::{Lab, show};

/// Counters that tell of the driver, of GSO or of what wirelab says it does not do (DIVERGENCES.md).
const NOT_COMPARED: [&str; 9] = [
    "TCPAutoCorking",
    "TCPRcvCoalesce",
    "TCPSackShifted",
    "TCPSackMerged",
    "TCPSackShiftFallback",
    "TCPSpuriousRtxHostQueues",
    "TCPHPHits",
    "TCPHPAcks",
    "TCPPureAcks",
];
pub(crate) fn compare(trace: &Trace, script: &Script, lab: &Lab, tolerance: Tolerance) -> Differences {
    let mut found = Differences::default();
    let ours = lab.seen.iter().map(|(at, p)| (since(lab, *at, p.section), p));
    packets(trace, &script.map, ours, tolerance, &mut found);
    calls(script, lab, tolerance, &mut found);
    counters(trace, &script.uncounted, lab, &mut found);
    for unknown in &script.unknown {
        found.say(format!("not understood: {unknown}"));
    }
    found
}

/// When a section began: a packet of the prelude is timed from the first.
fn since(lab: &Lab, at: wire::Instant, section: usize) -> f64 {
    let zero = lab.zero[section.min(lab.zero.len() - 1)];
    if at >= zero { (at - zero).as_secs_f64() } else { -(zero - at).as_secs_f64() }
}

fn calls(script: &Script, lab: &Lab, tolerance: Tolerance, found: &mut Differences) {
    for (n, step) in script.steps.iter().enumerate() {
        let Some((expect, at)) = &step.expect else { continue };
        let Some(done) = lab.done.iter().find(|d| d.step == n) else {
            found.say(format!("{}: never came back; the trace has {expect} at {at:.4}", step.text));
            continue;
        };
        if let Some((half, synacks)) = lab.counts.get(&n) {
            let numbers: Vec<f64> = expect.split_whitespace().filter_map(|w| w.parse().ok()).collect();
            // In the lab's rounds of a second, more of them or fewer had fired.
            let near = |a: f64, b: usize| (a - b as f64).abs() <= 0.06 * a.max(tolerance.share * 1e5);
            if numbers.len() >= 2 && !(near(numbers[0], *half) && near(numbers[1], *synacks)) {
                found.say(format!("{expect}, ours {half} and {synacks}"));
            }
            continue;
        }
        if !agrees(expect, &done.result) {
            found.say(format!("{}: {expect}, ours {}", step.text, show(&done.result)));
        }
        let our_at = since(lab, done.at, step.section);
        if !at.is_nan() && (at - our_at).abs() > tolerance.seconds + 0.0003 + tolerance.share * at {
            found.say(format!("{}: back at {at:.4}, ours {our_at:.4}", step.text));
        }
    }
    for done in &lab.done {
        let step = &script.steps[done.step];
        if let (None, Err(errno)) = (&step.expect, &done.result)
            && !matches!(step.what, traces::Do::Loop(_))
            && !(step.text.contains("MSG_DONTWAIT") && *errno == stack::Errno::EAGAIN)
        {
            found.say(format!("{}: {errno:?}", step.text));
        }
    }
}

/// A result in the lab's words against ours.
fn agrees(expect: &str, result: &CallResult) -> bool {
    if let Some(error) = expect.strip_prefix("ERROR ") {
        let name = error.split_whitespace().next().unwrap_or("");
        let name = if name == "TimeoutError" { "EAGAIN" } else { name };
        return matches!(result, Err(errno) if super::lab::errno_name(*errno) == name);
    }
    let Ok(ret) = result else { return false };
    if let Some(text) = expect.strip_prefix("b'").and_then(|t| t.strip_suffix('\'')) {
        let escapes = text.matches('\\').count();
        return matches!(ret, Ret::Data { len, .. } if *len == text.len() - escapes);
    }
    let number = expect.split_whitespace().next().and_then(|w| w.parse::<i64>().ok());
    match (expect, ret) {
        ("None" | "", _) => true,
        (_, Ret::Fd(..)) => expect.starts_with("socket") || expect.starts_with("('"),
        (_, Ret::Opt(OptValue::Int(n))) => number == Some(*n),
        (_, Ret::Poll(fds)) if expect.starts_with('[') => {
            expect.contains(&format!(", {})", fds.first().map_or(0, |f| f.1.0)))
        }
        (_, Ret::Poll(fds)) => expect == format!("{:#x}", fds.first().map_or(0, |f| f.1.0)),
        (_, Ret::Addr(addr)) => *addr == stack::call::SockAddr::Unspec || !expect.starts_with("ERROR"),
        _ => number == Some(ret.value()),
    }
}

fn counters(trace: &Trace, uncounted: &[String], lab: &Lab, found: &mut Differences) {
    for host in 0..2 {
        let ours = lab.counters(host);
        let theirs = &trace.counters[host];
        let noisy = trace.jitter > 0.01;
        let names = theirs.keys().chain(ours.keys()).filter(|n| !(noisy && n.starts_with("TCPHystart")));
        let names: std::collections::BTreeSet<_> = names
            .filter(|n| !n.starts_with("Ip") && !n.starts_with("Udp") && !n.starts_with("Icmp"))
            .collect();
        for name in names.into_iter().filter(|n| !NOT_COMPARED.contains(&n.as_str())) {
            let (t, o) = (theirs.get(name).copied().unwrap_or(0), ours.get(name).copied().unwrap_or(0));
            if t != o && !uncounted.contains(name) {
                found.say(format!("{} {name}: {t}, ours {o}", ["C", "S"][host]));
            }
        }
    }
}
