//! Commands that are built in: programs that are named like the real ones, take their options and print their
//! lines. iputils: ping; Dmitry Butskoy's traceroute.

use core::time::Duration;
use std::net::IpAddr;

use sim::Program;
use sim::program::ping::{Ping, PingOptions};
use sim::program::script::Names;
use sim::program::traceroute::{Traceroute, TracerouteOptions};

use crate::diagnostic::suggest;

/// Commands that are built in.
pub(crate) const COMMANDS: &[&str] = &["ping", "traceroute"];

/// What is wrong with a command line: which word, what, and what to write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CommandError {
    /// Index of the wrong word.
    pub(crate) word: usize,
    pub(crate) message: String,
    pub(crate) help: Option<String>,
}

/// Makes a command's program. `pid` tells two of them apart: the identifier of `ping` on a raw socket.
pub(crate) fn command(words: &[String], names: &Names, pid: u16) -> Result<Box<dyn Program>, CommandError> {
    let mut line = Line { words, at: 1, value_at: 0, names };
    match words.first().map_or("", String::as_str) {
        "ping" => Ok(Box::new(Ping::new(PingOptions { identifier: pid, ..ping(&mut line)? }))),
        "traceroute" => Ok(Box::new(Traceroute::new(traceroute(&mut line)?))),
        other => Err(CommandError {
            word: 0,
            message: format!("no command `{other}` is built in"),
            help: suggest(other, COMMANDS.iter().copied()),
        }),
    }
}

/// A command line being read.
struct Line<'a> {
    words: &'a [String],
    at: usize,
    /// Where the value of the option begins that was read last, when both are one word: `-c3`.
    value_at: usize,
    names: &'a Names,
}

impl Line<'_> {
    /// The next word, or what is left of the last one.
    fn next(&mut self) -> Option<(usize, &str)> {
        let at = self.at;
        let word = self.words.get(at)?;
        self.at += 1;
        Some((at, &word[core::mem::take(&mut self.value_at)..]))
    }

    /// The next option or target; the value of an option with one of these letters may stand in the same word
    /// (`getopt`).
    fn next_option(&mut self, with_value: &str) -> Option<(usize, &str)> {
        let at = self.at;
        let word = self.words.get(at)?;
        let mut letters = word.chars();
        if letters.next() == Some('-')
            && letters.next().is_some_and(|letter| with_value.contains(letter))
            && word.len() > 2
        {
            self.value_at = 2;
            return Some((at, &word[..2]));
        }
        self.at += 1;
        Some((at, word))
    }

    fn error(&self, word: usize, message: String, help: &str) -> CommandError {
        CommandError { word, message, help: Some(help.into()) }
    }

    /// The number after an option.
    fn number<T: core::str::FromStr>(&mut self, option: &str) -> Result<T, CommandError> {
        let at = self.at;
        let word = self.next().map(|(_, w)| w.to_string());
        let Some(word) = word else {
            return Err(self.error(
                at - 1,
                format!("`{option}` needs a number"),
                &format!("write {option} 3"),
            ));
        };
        word.parse().map_err(|_| {
            self.error(at, format!("`{word}` is no number that `{option}` takes"), "a whole number")
        })
    }

    /// The seconds after an option.
    fn seconds(&mut self, option: &str) -> Result<Duration, CommandError> {
        let at = self.at;
        let word = self.next().map(|(_, w)| w.to_string()).unwrap_or_default();
        let read = crate::values::duration(&format!("{word}s"));
        read.map_err(|_| {
            self.error(at, format!("`{option}` needs a time in seconds"), &format!("write {option} 0.5"))
        })
    }

    /// A host or an address.
    fn address(&self, at: usize, word: &str, ipv6: bool) -> Result<IpAddr, CommandError> {
        if let Ok(addr) = word.trim_matches(['[', ']']).parse() {
            return Ok(addr);
        }
        let host = self.names.hosts.get(word).and_then(|h| {
            let (v4, v6) = (h.v4.map(IpAddr::V4), h.v6.map(IpAddr::V6));
            if ipv6 { v6 } else { v4.or(v6) }
        });
        host.ok_or_else(|| CommandError {
            word: at,
            message: format!("`{word}` is neither an address nor a host that has one"),
            help: suggest(word, self.names.hosts.keys().map(String::as_str)),
        })
    }
}

/// The target, once all options are read.
fn target(
    line: &Line<'_>,
    word: Option<(usize, String)>,
    ipv6: bool,
) -> Result<(String, IpAddr), CommandError> {
    let Some((at, word)) = word else {
        return Err(line.error(0, "a target is missing".into(), "add a host's name or an address"));
    };
    let addr = line.address(at, &word, ipv6)?;
    Ok((word, addr))
}

fn ping(line: &mut Line<'_>) -> Result<PingOptions, CommandError> {
    let mut options = PingOptions::new(IpAddr::from([0, 0, 0, 0]));
    let mut ipv6 = false;
    let mut whom = None;
    while let Some((at, word)) = line.next_option("ciWstMI").map(|(at, w)| (at, w.to_string())) {
        match word.as_str() {
            "-4" | "-n" => {}
            "-6" => ipv6 = true,
            "-c" => options.count = Some(line.number("-c")?),
            "-i" => options.interval = line.seconds("-i")?,
            "-W" => options.linger = line.seconds("-W")?,
            "-s" => options.size = line.number("-s")?,
            "-t" => options.ttl = Some(line.number("-t")?),
            "-M" => {
                let at = line.at;
                let how = line.next().map(|(_, w)| w.to_string()).unwrap_or_default();
                options.pmtu_discovery = Some(match how.as_str() {
                    "dont" => 0,
                    "want" => 1,
                    "do" => 2,
                    "probe" => 3,
                    _ => {
                        return Err(line.error(
                            at,
                            format!("`{how}` is no way of path MTU discovery"),
                            "do, want, dont or probe",
                        ));
                    }
                });
            }
            "-I" => {
                let at = line.at;
                let source = line.next().map(|(_, w)| w.to_string()).unwrap_or_default();
                options.source = Some(line.address(at, &source, ipv6)?);
            }
            option if option.starts_with('-') => {
                let known = "built in are -c -i -W -s -t -M -I -4 -6 -n";
                return Err(line.error(at, format!("ping has no option `{option}` here"), known));
            }
            _ => whom = Some((at, word)),
        }
    }
    (options.name, options.target) = target(line, whom, ipv6)?;
    if options.count.is_none() {
        return Err(line.error(0, "a ping without end".into(), "say how many: -c 3"));
    }
    Ok(options)
}

fn traceroute(line: &mut Line<'_>) -> Result<TracerouteOptions, CommandError> {
    let mut ipv6 = false;
    let mut whom = None;
    let mut options = TracerouteOptions::new(IpAddr::from([0, 0, 0, 0]));
    while let Some((at, word)) = line.next_option("fmqNpw").map(|(at, w)| (at, w.to_string())) {
        match word.as_str() {
            "-4" | "-n" => {}
            "-6" => ipv6 = true,
            "-f" => options.first_ttl = line.number("-f")?,
            "-m" => options.max_ttl = line.number("-m")?,
            "-q" => options.probes = line.number("-q")?,
            "-N" => options.simultaneous = line.number("-N")?,
            "-p" => options.port = line.number("-p")?,
            "-w" => options.wait = line.seconds("-w")?,
            option if option.starts_with('-') => {
                let known = "built in are -f -m -q -N -p -w -4 -6 -n";
                return Err(line.error(at, format!("traceroute has no option `{option}` here"), known));
            }
            _ => whom = Some((at, word)),
        }
    }
    let (name, addr) = target(line, whom, ipv6)?;
    let usual = TracerouteOptions::new(addr);
    Ok(TracerouteOptions { name, target: addr, packet_len: usual.packet_len, ..options })
}
