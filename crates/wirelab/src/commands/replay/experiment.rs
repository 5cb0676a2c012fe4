//! An experiment of a kernel trace as a scenario file: the same calls at the same times on two hosts, the same packets lost,
//! in the scenario language and nothing else. What it cannot say is told with its reason.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use traces::{Do, Host, Mark, Script, Step, Trace};

/// The hosts' names in the file; C and S in the trace.
pub(super) const HOSTS: [&str; 2] = ["client", "server"];
/// When the first section begins.
const BEGIN: f64 = 0.5;
/// Steps that began within this time stay in the order in which they are told.
const TOGETHER: f64 = 0.0004;
/// A step of another host at the same moment comes so much later, so that the order is kept.
const NEXT_HOST: f64 = 0.000_02;
/// A reader that goes round "until the end" reads so often; a bulk transfer of the traces has 280 segments.
const READS: u32 = 600;
/// A writer of the same kind: until the send buffer is full.
const WRITES: u32 = 64;

/// A trace and its script.
pub(super) struct Experiment {
    pub(super) trace: Trace,
    pub(super) script: Script,
    /// When each section begins, seconds of the run; as many as are known.
    pub(super) begins: Vec<f64>,
    /// Packets of each host before the first one that the trace shows.
    pub(super) unseen: [usize; 2],
}

impl Experiment {
    pub(super) fn new(trace: Trace, script: Script) -> Experiment {
        Experiment { trace, script, begins: vec![BEGIN], unseen: [0, 0] }
    }

    /// How many sections the script has.
    pub(super) fn sections(&self) -> usize {
        let told = self.script.steps.iter().map(|s| s.section + 1).max().unwrap_or(1);
        told.max(self.script.map.last().map_or(1, |n| n + 1))
    }

    /// When the run ends.
    pub(super) fn end(&self) -> f64 {
        self.begins.last().expect("the first section's is known") + self.script.end
    }

    /// What the scenario language cannot say.
    pub(super) fn inexpressible(&self) -> Option<String> {
        if self.trace.title.is_empty() || self.trace.mtu == 0 {
            return Some("no TCP trace of two hosts".into());
        }
        if let Some(unknown) = self.script.unknown.first() {
            return Some(format!("not understood: {unknown}"));
        }
        for step in &self.script.steps {
            let what = match &step.what {
                Do::Inject(..) => "a packet that nobody sent arrives at a time",
                Do::Flood(_) | Do::Count => "a flood of SYNs from raw sockets",
                Do::Reboot => "a host that loses everything",
                _ => continue,
            };
            return Some(what.into());
        }
        let told = self.script.steps.iter().any(|s| s.expect.is_some());
        if self.trace.packets().next().is_none() && !told {
            return Some("it shows neither packets nor calls".into());
        }
        let rewritten = self.trace.packets().any(|p| p.mark == Mark::Rewrite);
        rewritten.then(|| "a SYN whose sequence number is changed on its way".into())
    }

    /// The file; with the sections that are known, and what comes after them left out. `hold`: how long programs keep
    /// their sockets after their last line.
    pub(super) fn file(&self, hold: &str) -> Result<String, String> {
        let t = &self.trace;
        let mut text = format!("question = {}\n", quoted(&format!("{}: {}?", t.id, t.title)));
        text += "neighbours = \"known\"\n";
        let whole = self.begins.len() == self.sections();
        if whole {
            writeln!(text, "until = \"{}\"", seconds(self.end())).expect("text");
        }
        for (host, name) in HOSTS.iter().enumerate() {
            let mut settings: BTreeMap<&str, &str> = BTreeMap::new();
            let own = t.sysctls[0].iter().chain(&t.sysctls[host + 1]);
            settings.extend(own.map(|(name, value)| (name.as_str(), value.as_str())));
            let settings: Vec<String> = settings
                .iter()
                .map(|(name, value)| format!("{} = {}", quoted(name), quoted(value)))
                .collect();
            let address = format!("192.0.2.{}/24", host + 1);
            writeln!(text, "\n[hosts.{name}]\naddress = \"{address}\"\nprofile = \"6.12\"").expect("text");
            if !settings.is_empty() {
                writeln!(text, "sysctl = {{ {} }}", settings.join(", ")).expect("text");
            }
        }
        writeln!(text, "\n[links.path]\nbetween = [\"client\", \"server\"]\nmtu = {}", t.mtu).expect("text");
        for (host, name) in HOSTS.iter().enumerate() {
            writeln!(text, "from.{name} = {{ delay = \"{}\" }}", seconds(t.delay_ms[host] / 1000.0))
                .expect("text");
        }
        for program in self.programs()? {
            program.write(&mut text, hold);
        }
        self.faults(&mut text);
        Ok(text)
    }

    /// The marks of packets, by their order in their direction.
    fn faults(&self, text: &mut String) {
        let mut sent = self.unseen;
        for p in self.trace.packets() {
            sent[p.from] += 1;
            let (from, to) = (HOSTS[p.from], HOSTS[1 - p.from]);
            let which = format!("\"{from}->{to}: {} tcp && !icmp\"", ordinal(sent[p.from]));
            let fault = match p.mark {
                Mark::Pass | Mark::Rewrite => continue,
                Mark::Drop => format!("drop = {which}"),
                Mark::Delay(s) => format!("delay = {which}\nby = \"{}\"", seconds(s)),
                Mark::Dup(n) => format!("duplicate = {which}\ncopies = {}", n.saturating_sub(1).max(1)),
                Mark::Icmp(ty, code) => {
                    format!(
                        "forge = {which}\nreply = \"icmp {ty} {code} from 198.51.100.254\"\ninstead = true"
                    )
                }
            };
            // A section whose packets are still unknown has no faults yet.
            writeln!(text, "\n[[faults]]\n{fault}\noptional = true").expect("text");
        }
    }

    /// Programs: the steps of one host that share sockets are one.
    fn programs(&self) -> Result<Vec<Program>, String> {
        let mut timed = Vec::new();
        let mut last: Option<(usize, i64, f64, Host)> = None;
        for step in self.script.steps.iter().filter(|s| s.section < self.begins.len()) {
            let slot = ((step.at + 0.000_05) / TOGETHER).floor() as i64;
            let mut at = self.begins[step.section] + step.at;
            if let Some((section, before, time, host)) = last
                && section == step.section
                && before == slot
            {
                at = at.max(if host == step.host { time } else { time + NEXT_HOST });
            }
            last = Some((step.section, slot, at, step.host));
            timed.push((at, step));
        }
        let mut programs = Vec::new();
        for host in [1, 0] {
            let own: Vec<(f64, &Step)> = timed.iter().filter(|(_, s)| s.host == host).copied().collect();
            for group in groups(&own) {
                programs.push(Program::of(host, &group, &self.begins)?);
            }
        }
        Ok(programs)
    }
}

/// One process.
struct Program {
    host: Host,
    lines: Vec<String>,
    /// It dies, so that its sockets close, instead of holding them.
    killed: bool,
}

impl Program {
    fn of(host: Host, steps: &[(f64, &Step)], begins: &[f64]) -> Result<Program, String> {
        let mut program = Program { host, lines: Vec::new(), killed: false };
        // A call that sleeps while another thread uses the same sockets is made when it returns, where that is the same.
        let mut order: Vec<(f64, &Step)> = Vec::new();
        for (n, (at, step)) in steps.iter().enumerate() {
            let until = step.expect.as_ref().map_or(*at, |(_, end)| begins[step.section] + end);
            let beside = steps[n + 1..].iter().any(|(t, s)| s.thread != step.thread && *t + 1e-9 < until);
            let waits = ["recv(", "accept(", "poll("]
                .iter()
                .any(|c| step.text.contains(c) || call(step).starts_with(c));
            match (&step.what, until > *at + TOGETHER && beside) {
                (Do::Call(_), true) if waits => order.push((until + NEXT_HOST, step)),
                (Do::Call(text), true) => {
                    return Err(format!("two threads use one socket while `{text}` sleeps"));
                }
                (Do::Loop(text), _) if steps[n + 1..].iter().any(|(_, s)| s.thread != step.thread) => {
                    return Err(format!("two threads use one socket while `{text}` goes round"));
                }
                _ => order.push((*at, step)),
            }
        }
        order.sort_by(|a, b| a.0.total_cmp(&b.0));
        let mut now = f64::MIN;
        for (at, step) in order {
            if program.killed {
                return Err("a process goes on after it was killed".into());
            }
            if at > now {
                program.lines.push(format!("at {}", seconds(at)));
                now = at;
            }
            program.step(step);
        }
        Ok(program)
    }

    fn step(&mut self, step: &Step) {
        let named =
            |text: &str| text.replace(" C:", " client:").replace(" S:", " server:").replace("tun0", "eth0");
        match &step.what {
            Do::Call(text) => {
                let bind = step.bind.as_ref().map_or(String::new(), |name| format!("{name} = "));
                let result = step.expect.as_ref().and_then(|(result, _)| expected(text, result));
                let result = result.map_or(String::new(), |result| format!(" = {result}"));
                self.lines.push(format!("{bind}{}{result}", named(text)));
            }
            Do::Loop(text) => {
                self.repeat(if text.starts_with("send") { WRITES } else { READS }, &named(text))
            }
            Do::Scheduled => self.repeat(READS, "recv(s, 65536)"),
            Do::Admin(text) => self.lines.push(named(text)),
            Do::Link(up) => {
                self.lines.push(format!("ip link set eth0 {}", if *up { "up" } else { "down" }));
                if *up {
                    // A link that goes down takes even permanent neighbours with it.
                    let peer = 2 - step.host;
                    self.lines.push(format!(
                        "ip neigh replace 192.0.2.{peer} lladdr 02:00:00:00:00:{peer:02x} dev eth0 nud permanent"
                    ));
                }
            }
            Do::Sleep(s) => self.lines.push(format!("sleep {}", seconds(*s))),
            Do::Kill => self.killed = true,
            _ => {}
        }
    }

    fn repeat(&mut self, times: u32, line: &str) {
        self.lines.extend([format!("repeat {times}"), line.to_owned(), "end".to_owned()]);
    }

    fn write(&self, text: &mut String, hold: &str) {
        writeln!(text, "\n[[programs]]\nhost = \"{}\"\nrun = [", HOSTS[self.host]).expect("text");
        for line in &self.lines {
            writeln!(text, "    {},", quoted(line)).expect("text");
        }
        let last = if self.killed { "sleep 1us" } else { hold };
        writeln!(text, "    {},\n]", quoted(last)).expect("text");
    }
}

fn call(step: &Step) -> &str {
    match &step.what {
        Do::Call(text) => text,
        _ => "",
    }
}

/// What a call must return in the scenario's words, where the trace's are of use.
fn expected(call: &str, result: &str) -> Option<String> {
    let verb = call.split('(').next().unwrap_or(call);
    if let Some(error) = result.strip_prefix("ERROR ") {
        let name = error.split_whitespace().next()?;
        return Some(format!("-1 {}", if name == "TimeoutError" { "EAGAIN" } else { name }));
    }
    match verb {
        "connect" | "bind" | "listen" | "close" | "shutdown" | "setsockopt" => Some("0".into()),
        "send" | "sendto" => result.parse::<u64>().ok().map(|n| n.to_string()),
        "recv" => {
            let bytes = result.strip_prefix("b'")?.strip_suffix('\'')?;
            (!bytes.contains('\\')).then(|| bytes.len().to_string())
        }
        _ => None,
    }
}

/// Steps that share a variable are of one process; the order stays.
fn groups<'a>(steps: &[(f64, &'a Step)]) -> Vec<Vec<(f64, &'a Step)>> {
    let names: BTreeSet<&str> = steps.iter().filter_map(|(_, s)| s.bind.as_deref()).collect();
    let uses = |step: &Step| -> BTreeSet<&str> {
        let text = match &step.what {
            Do::Call(text) | Do::Loop(text) => text.as_str(),
            Do::Scheduled => "(s)",
            _ => "",
        };
        let words: Vec<&str> = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').collect();
        let used = |name: &&&str| step.bind.as_deref() == Some(**name) || words.contains(*name);
        names.iter().filter(used).copied().collect()
    };
    // Each group with the names that it has.
    let mut groups: Vec<(BTreeSet<&str>, Vec<usize>)> = Vec::new();
    let mut alone = Vec::new();
    for (n, (_, step)) in steps.iter().enumerate() {
        let mut own = uses(step);
        if own.is_empty() {
            if !matches!(step.what, Do::Hide(_) | Do::Nothing) {
                alone.push(n);
            }
            continue;
        }
        let mut members = vec![n];
        groups.retain_mut(|(names, steps)| {
            let shares = names.iter().any(|name| own.contains(name));
            if shares {
                own.append(names);
                members.append(steps);
            }
            !shares
        });
        groups.push((own, members));
    }
    // A pause, the end of the process and commands go with the first: where there are several, with each.
    let everywhere = |n: &usize| matches!(steps[*n].1.what, Do::Sleep(_) | Do::Kill);
    for (_, members) in &mut groups {
        members.extend(alone.iter().filter(|n| everywhere(n)));
    }
    let mut lists: Vec<Vec<usize>> = groups.into_iter().map(|(_, members)| members).collect();
    let rest: Vec<usize> = alone.iter().filter(|n| !everywhere(n)).copied().collect();
    if !rest.is_empty() {
        lists.push(rest);
    }
    for list in &mut lists {
        list.sort_unstable();
    }
    lists.sort();
    lists.into_iter().map(|list| list.into_iter().map(|n| steps[n]).collect()).collect()
}

/// `1.5s`, to the microsecond.
fn seconds(s: f64) -> String {
    let text = format!("{:.6}", s.max(0.0));
    format!("{}s", text.trim_end_matches('0').trim_end_matches('.'))
}

fn ordinal(n: usize) -> String {
    let word = match (n % 10, n % 100) {
        (1, to) if to != 11 => "st",
        (2, to) if to != 12 => "nd",
        (3, to) if to != 13 => "rd",
        _ => "th",
    };
    format!("{n}{word}")
}

/// A TOML string.
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

#[cfg(test)]
mod tests {
    use super::*;
    use traces::read_table;

    const TRACE: &str = "\
=== # 4x: the server is silent
   [sysctls both={'net.ipv4.tcp_retries2': 3} client={} server={}; one-way delay c>s 5 ms, s>c 0 ms; mtu 1400]
    0.0002 C>S 40000>80 [S] seq 0 ack - len 0 | C=- S=-
    0.0052 S>C 80>40000 [S.] seq 0 ack 1 len 0 | C=- S=-
    0.0053 C>S 40000>80 [.] seq 1 ack 1 len 0 | C=- S=-
   0.0000  APP c send -> 5  (took 0.0000s)
    0.0000 C>S 40000>80 [P.] seq 1 ack 1 len 5 **DROP** | C=- S=-
    0.2200 C>S 40000>80 [P.] seq 1 ack 1 len 5 | C=- S=-
   9.0000  APP c recv -> ERROR ETIMEDOUT ([Errno 110] …)  (took 8.9s)
   3.0000  APP c close -> None  (took 0.0000s)
";

    fn experiment(text: &str) -> Experiment {
        let table = read_table("");
        let trace = Trace::of("4x", text, 0.0025, &table);
        let script = Script::derive(&trace, &table);
        Experiment::new(trace, script)
    }

    #[test]
    fn a_trace_becomes_a_file_of_calls_and_faults() {
        let mut experiment = experiment(TRACE.rsplit_once("   3.0000").expect("the last line").0);
        assert_eq!(experiment.sections(), 2);
        experiment.begins.push(2.0);
        let file = experiment.file("sleep 1h").expect("expressible");
        for line in [
            "sysctl = { \"net.ipv4.tcp_retries2\" = \"3\" }",
            "mtu = 1400",
            "from.client = { delay = \"0.005s\" }",
            "    \"c = socket(AF_INET, SOCK_STREAM)\",",
            "    \"connect(c, server:80)\",",
            "    \"at 2s\",\n    \"send(c, 5) = 5\",",
            "    \"recv(c, 65536) = -1 ETIMEDOUT\",",
            "drop = \"client->server: 3rd tcp && !icmp\"",
        ] {
            assert!(file.contains(line), "{line} is not in\n{file}");
        }
        let file = scenario::file::parse(&file, "4x").expect("it reads");
        scenario::plan(&file, &scenario::Overrides::default()).expect("it plans");
    }

    #[test]
    fn a_reader_beside_a_close_is_put_where_it_returns() {
        let steps =
            "   9.0000  APP c recv -> b'x'  (took 8.9s)\n   3.0000  APP c send -> 5  (took 0.0000s)\n";
        let mut experiment =
            experiment(&(TRACE.rsplit_once("   9.0000").expect("a line").0.to_owned() + steps));
        experiment.begins = (0..experiment.sections()).map(|n| n as f64 + 1.0).collect();
        let file = experiment.file("sleep 1h").expect("expressible");
        let at = |text: &str| file.find(text).unwrap_or_else(|| panic!("{text} is not in\n{file}"));
        assert!(at("recv(c, 65536)") > at("send(c, 5)"), "{file}");
    }

    #[test]
    fn words_are_those_of_the_language() {
        let words: Vec<String> = [1, 2, 3, 4, 11, 12, 13, 21, 102, 111].into_iter().map(ordinal).collect();
        assert_eq!(words, ["1st", "2nd", "3rd", "4th", "11th", "12th", "13th", "21st", "102nd", "111th"]);
        assert_eq!((seconds(1.5), seconds(0.0), seconds(20.0)), ("1.5s".into(), "0s".into(), "20s".into()));
        assert_eq!(expected("connect(c, S:80)", "None"), Some("0".into()));
        assert_eq!(expected("send(c, 4)", "ERROR EPIPE (x)"), Some("-1 EPIPE".into()));
        assert_eq!(expected("recv(c, 9)", "b''"), Some("0".into()));
        assert_eq!(expected("recv(c, 9)", "b'a\\n'"), None);
    }
}
