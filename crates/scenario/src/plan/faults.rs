//! Faults as run: which packets, and what becomes of them.

use sim::fault::{FaultAction, FaultSpec, Forge, ForgedCopy, Place, Release};
use sim::link::LinkState;

use super::hosts::on_command_line;
use super::{Checks, Names};
use crate::diagnostic::suggest;
use crate::file::{self, Content};
use crate::overrides::Overrides;
use crate::source::{join, place};
use crate::values::{self, BadValue};

/// A fault as run.
#[derive(Clone, Debug)]
pub(crate) struct FaultPlan {
    /// `drop client->server: 2nd udp`
    pub(crate) text: String,
    pub(crate) spec: FaultSpec,
    pub(crate) action: FaultAction,
    pub(crate) optional: bool,
}

const ACTIONS: &[&str] = &["drop", "delay", "duplicate", "corrupt", "hold", "forge", "cut"];

pub(crate) fn plan(checks: &mut Checks<'_>, content: &Content, names: &Names) -> Vec<FaultPlan> {
    let mut plans = Vec::new();
    for (i, fault) in content.faults.iter().enumerate() {
        let path = place!("faults", i);
        let file::Fault { drop, delay, duplicate, corrupt, hold, forge, cut, .. } = fault;
        let written = [drop, delay, duplicate, corrupt, hold, forge, cut];
        let given: Vec<(&str, &String)> =
            ACTIONS.iter().copied().zip(written).filter_map(|(n, w)| w.as_ref().map(|w| (n, w))).collect();
        let [(name, text)] = given[..] else {
            let message =
                if given.is_empty() { "a fault without an action" } else { "a fault with several actions" };
            let help = format!("write exactly one of {}", ACTIONS.join(", "));
            checks.at_key(&path, message, help);
            continue;
        };
        let spec = checks.value(&join(&path, name), spec(text, names));
        let action = action(checks, &path, name, fault, names);
        if let (Some(spec), Some(action)) = (spec, action) {
            plans.push(FaultPlan { text: format!("{name} {text}"), spec, action, optional: fault.optional });
        }
    }
    plans
}

/// Reads `[PLACE:] [ORDINAL] FILTER` and looks its names up.
fn spec(text: &str, names: &Names) -> Result<FaultSpec, BadValue> {
    let spec = FaultSpec::parse(text).map_err(|e| BadValue {
        part: e.span.clone(),
        message: e.message.clone(),
        help: e.hint.clone(),
    })?;
    let written: Vec<_> = match &spec.place {
        None => Vec::new(),
        Some(Place::At(name, span)) => vec![(name, span)],
        Some(Place::Between(from, to)) => from.iter().chain(to).map(|(n, s)| (n, s)).collect(),
    };
    for (name, span) in written {
        let known = names.places();
        if !known.contains(&name.as_str()) {
            let message = format!("no host, switch or link is named `{name}`");
            return Err(BadValue { part: span.clone(), message, help: suggest(name, known) });
        }
    }
    Ok(spec)
}

fn action(
    checks: &mut Checks<'_>,
    path: &str,
    name: &str,
    fault: &file::Fault,
    names: &Names,
) -> Option<FaultAction> {
    let needs = |checks: &mut Checks<'_>, field: &str, example: &str| {
        checks.at_key(
            &join(path, name),
            format!("`{name}` needs `{field}`"),
            format!("add {field} = {example}"),
        );
        None
    };
    match name {
        "drop" => Some(FaultAction::Drop),
        "delay" => match &fault.by {
            None => needs(checks, "by", "\"200ms\""),
            Some(by) => checks.value(&join(path, "by"), values::duration(by)).map(FaultAction::Delay),
        },
        "duplicate" => {
            let copies = fault.copies.unwrap_or(1);
            if !(1..=sim::fault::MAX_DUPLICATES).contains(&copies) {
                let help = format!("1 to {}", sim::fault::MAX_DUPLICATES);
                checks.at_value(&join(path, "copies"), format!("{copies} copies cannot be made"), help);
            }
            Some(FaultAction::Duplicate(copies))
        }
        "corrupt" => Some(FaultAction::Corrupt { at: fault.byte }),
        "hold" => match (&fault.until, fault.packets) {
            (Some(until), None) => {
                let at = checks.value(&join(path, "until"), values::instant(until))?;
                Some(FaultAction::Hold(Release::At(at)))
            }
            (None, Some(packets)) => Some(FaultAction::Hold(Release::AfterPackets(packets))),
            _ => needs(checks, "until", "\"2s\" (or packets = 3, not both)"),
        },
        "forge" => {
            let instead = fault.instead.unwrap_or(false);
            match (&fault.reply, &fault.copy) {
                (Some(reply), None) => {
                    let reply = checks.value(&join(path, "reply"), reply_value(reply, names))?;
                    Some(FaultAction::Forge { reply, instead })
                }
                (None, Some(copy)) => {
                    let copy = checks.value(&join(path, "copy"), copy_value(copy))?;
                    let by = match &fault.by {
                        Some(by) => checks.value(&join(path, "by"), values::duration(by))?,
                        None => core::time::Duration::ZERO,
                    };
                    Some(FaultAction::Copy { copy, by, instead })
                }
                _ => needs(checks, "reply", "\"icmp 3 1\", or copy = \"flags R\" (not both)"),
            }
        }
        _ => match &fault.duration {
            None => needs(checks, "for", "\"5s\""),
            Some(duration) => {
                let duration = checks.value(&join(path, "for"), values::duration(duration))?;
                let state = if fault.silent.unwrap_or(false) { LinkState::Silent } else { LinkState::Down };
                Some(FaultAction::CutLink { duration, state })
            }
        },
    }
}

/// `arp-reply HOST-OR-MAC`, `icmp TYPE CODE [from ADDRESS] [mtu N]`, `tcp-reset`, `bytes HEX`.
fn reply_value(text: &str, names: &Names) -> Result<Forge, BadValue> {
    let help = "write `arp-reply attacker`, `icmp 3 4 mtu 1000`, `tcp-reset` or `bytes ff ff …`";
    let bad = |message: String| BadValue::new(text, message, help);
    let words: Vec<&str> = text.split_whitespace().collect();
    match words[..] {
        ["arp-reply", who] => {
            let host = names.host(who).and_then(|h| names.hosts[h].mac);
            let mac = host.or_else(|| who.parse().ok());
            mac.map(|mac| Forge::ArpReply { mac })
                .ok_or_else(|| bad(format!("`{who}` is neither a host nor a MAC address")))
        }
        ["tcp-reset"] => Ok(Forge::TcpReset),
        ["bytes", ..] => {
            let digits: String = words[1..].concat();
            let bytes: Option<Vec<u8>> = (0..digits.len())
                .step_by(2)
                .map(|i| digits.get(i..i + 2).and_then(|d| u8::from_str_radix(d, 16).ok()))
                .collect();
            match bytes {
                Some(bytes) if !bytes.is_empty() => Ok(Forge::Bytes(bytes)),
                _ => Err(bad("the bytes are not pairs of hexadecimal digits".into())),
            }
        }
        ["icmp", ty, code, ref rest @ ..] => {
            let number = |word: &str| {
                word.parse::<u8>().map_err(|_| bad(format!("`{word}` is not between 0 and 255")))
            };
            let (ty, code) = (number(ty)?, number(code)?);
            let (mut from, mut mtu) = (None, 0);
            for pair in rest.chunks(2) {
                match pair {
                    ["from", who] => {
                        let address =
                            names.host(who).and_then(|h| names.hosts[h].ipv4).or_else(|| who.parse().ok());
                        from = Some(
                            address
                                .ok_or_else(|| bad(format!("`{who}` is neither a host nor an address")))?,
                        );
                    }
                    ["mtu", n] => mtu = n.parse().map_err(|_| bad(format!("`{n}` is no MTU")))?,
                    other => return Err(bad(format!("`{}` is not understood", other.join(" ")))),
                }
            }
            Ok(Forge::Icmp { from, ty, code, rest: mtu })
        }
        _ => Err(bad(format!("`{text}` is no answer that can be forged"))),
    }
}

/// `flags R seq +100 data none`: see [`ForgedCopy`].
fn copy_value(text: &str) -> Result<ForgedCopy, BadValue> {
    ForgedCopy::parse(text).map_err(|e| BadValue { part: e.span, message: e.message, help: e.hint })
}

/// The command line's `--drop` and its siblings.
pub(crate) fn add_overrides(
    checks: &mut Checks<'_>,
    faults: &mut Vec<FaultPlan>,
    overrides: &Overrides,
    names: &Names,
) {
    for (name, text) in &overrides.faults {
        let option = format!("--{name}");
        match override_fault(name, text, names) {
            Ok((spec, action)) => {
                faults.push(FaultPlan { text: format!("{name} {text}"), spec, action, optional: false });
            }
            Err(bad) => checks.add(on_command_line(&option, text, bad)),
        }
    }
}

fn override_fault(name: &str, text: &str, names: &Names) -> Result<(FaultSpec, FaultAction), BadValue> {
    match name {
        "drop" => Ok((spec(text, names)?, FaultAction::Drop)),
        "duplicate" => Ok((spec(text, names)?, FaultAction::Duplicate(1))),
        "corrupt" => Ok((spec(text, names)?, FaultAction::Corrupt { at: None })),
        "delay" => {
            let (by, rest) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
            let by_value = values::duration(by)?;
            let spec = spec(rest, names).map_err(|mut bad| {
                let shift = by.len() + 1;
                bad.part = bad.part.start + shift..bad.part.end + shift;
                bad
            })?;
            Ok((spec, FaultAction::Delay(by_value)))
        }
        _ => Err(BadValue::new(
            text,
            format!("`{name}` cannot be given here"),
            "use drop, delay, duplicate or corrupt",
        )),
    }
}
