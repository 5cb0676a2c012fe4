//! The shell lines of scripts, for hosts that have no shell: `sysctl`, `ip`, `tc`, `ethtool`, `nstat` and little else.
//!
//! What is not understood is an error that says which words; nothing is skipped in silence. A command that fails does
//! not end the line, as in a shell: the last one's status counts.

mod words;

use std::collections::BTreeMap;
use std::path::Path;

use crate::target::ShellError;
use words::{Command, Redirect, Separator, commands};

/// Scripts that include scripts.
const MAX_DEPTH: usize = 4;
/// What a file of zeros may be long.
const MAX_FILE: usize = 64 << 20;

/// What the commands act on.
pub(crate) trait Machine {
    /// Reads a sysctl by its name with dots.
    fn sysctl_read(&mut self, name: &str) -> Result<String, ShellError>;
    /// Writes one.
    fn sysctl_write(&mut self, name: &str, value: &str) -> Result<(), ShellError>;
    /// An `ip` command.
    fn ip(&mut self, text: &str) -> Result<(), ShellError>;
    /// `ip tcp_metrics flush all`
    fn flush_tcp_metrics(&mut self);
    /// The root queue of `tun0`: its kind and `limit`; `None` for the default.
    fn qdisc(&mut self, kind: Option<&str>, limit: Option<u32>) -> Result<(), ShellError>;
    /// `ethtool -K tun0 FEATURE on|off`
    fn offload(&mut self, feature: &str, on: bool) -> Result<(), ShellError>;
    /// Counters that are not zero, by their `nstat` names.
    fn counters(&mut self) -> Vec<(String, u64)>;
    /// `/proc/net/tcp` or `/proc/net/tcp6`.
    fn proc_net_tcp(&mut self, v6: bool) -> Result<String, ShellError>;
    /// A file below `/sys/module`.
    fn module_parameter(&mut self, name: &str, value: &str) -> Result<(), ShellError>;
    /// The files of the machine: content by path.
    fn files(&mut self) -> &mut BTreeMap<String, Vec<u8>>;
}

/// What commands leave for later ones.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    /// Of `set_sysctls.py`: what the restore script writes back.
    restore: Vec<(String, String)>,
    /// `nstat` shows what came since it ran last.
    seen: BTreeMap<String, u64>,
}

/// Status and output of a command.
struct Ran {
    ok: bool,
    out: String,
}

fn done(ok: bool) -> Result<Ran, ShellError> {
    Ok(Ran { ok, out: String::new() })
}

fn unknown<T>(text: impl Into<String>) -> Result<T, ShellError> {
    Err(ShellError::Unsupported(text.into()))
}

/// Runs a command line in the folder `dir`.
pub(crate) fn run(
    machine: &mut dyn Machine,
    memory: &mut Memory,
    text: &str,
    dir: &Path,
) -> Result<(), ShellError> {
    match script(machine, memory, text, dir, 0)? {
        true => Ok(()),
        false => {
            let first = text.trim().lines().next().unwrap_or_default();
            Err(ShellError::Failed(format!("`{first}` returned non-zero status")))
        }
    }
}

fn script(
    machine: &mut dyn Machine,
    memory: &mut Memory,
    text: &str,
    dir: &Path,
    depth: usize,
) -> Result<bool, ShellError> {
    if depth > MAX_DEPTH {
        return unknown("shell scripts nested too deeply");
    }
    let mut last = true;
    let mut input = None;
    let mut skip = false;
    for command in commands(text)? {
        let before = command.before;
        if before != Separator::Pipe {
            input = None;
            skip = match before {
                Separator::And => !last,
                Separator::Or => last,
                Separator::Pipe | Separator::Next => false,
            };
        }
        if skip {
            continue;
        }
        let ran = one(machine, memory, &command, input.take().as_deref(), dir, depth)?;
        last = ran.ok;
        match &command.redirect {
            Redirect::No => input = Some(ran.out),
            Redirect::Null => input = Some(String::new()),
            Redirect::File(path) => last &= write_file(machine, path, &ran.out)?,
        }
    }
    Ok(last)
}

/// `echo … > PATH`
fn write_file(machine: &mut dyn Machine, path: &str, text: &str) -> Result<bool, ShellError> {
    let value = text.trim();
    if let Some(name) = path.strip_prefix("/proc/sys/") {
        return status(machine.sysctl_write(&name.replace('/', "."), value));
    }
    if let Some(name) = path.strip_prefix("/sys/module/") {
        return status(machine.module_parameter(name, value));
    }
    if path.starts_with("/tmp/") {
        machine.files().insert(path.to_owned(), text.as_bytes().to_vec());
        return Ok(true);
    }
    unknown(format!("writing to {path}"))
}

/// A failure is a status; what is not supported stays an error.
fn status(result: Result<(), ShellError>) -> Result<bool, ShellError> {
    match result {
        Ok(()) => Ok(true),
        Err(ShellError::Failed(_)) => Ok(false),
        Err(other) => Err(other),
    }
}

fn one(
    machine: &mut dyn Machine,
    memory: &mut Memory,
    command: &Command,
    input: Option<&str>,
    dir: &Path,
    depth: usize,
) -> Result<Ran, ShellError> {
    let Some((name, args)) = command.words.split_first() else { return done(true) };
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let base = name.rsplit('/').next().unwrap_or(name);
    match (base, args.as_slice()) {
        ("sysctl", args) => sysctl(machine, args),
        ("set_sysctls.py", args) => set_sysctls(machine, memory, args),
        ("ip", args) => ip(machine, args),
        ("tc", args) => tc(machine, args),
        ("ethtool", ["-K", "tun0", features @ ..]) => ethtool(machine, features),
        ("nstat", []) => Ok(nstat(machine, memory)),
        ("grep", args) => grep(machine, args, input),
        ("echo", ["-n", args @ ..] | args) => Ok(Ran { ok: true, out: args.join(" ") }),
        ("true" | ":", _) | ("exit", [] | ["0"]) => done(true),
        ("false", _) => done(false),
        ("cat", [path]) => match path.strip_prefix("/proc/sys/") {
            Some(sysctl) => Ok(Ran { ok: true, out: machine.sysctl_read(&sysctl.replace('/', "."))? }),
            None => unknown(format!("cat {path}")),
        },
        ("rm", ["-f", paths @ ..]) => {
            for path in paths {
                machine.files().remove(*path);
            }
            done(true)
        }
        ("dd", args) => dd(machine, args),
        (base, []) if base.starts_with("sysctl_restore_") => {
            let all = core::mem::take(&mut memory.restore);
            let mut ok = true;
            for (name, value) in all {
                ok = status(machine.sysctl_write(&name, &value))?;
            }
            done(ok)
        }
        (base, []) if base.ends_with(".sh") => {
            let path = dir.join(name);
            let text = std::fs::read_to_string(&path)
                .map_err(|e| ShellError::Failed(format!("{}: {e}", path.display())))?;
            done(script(machine, memory, &text, dir, depth + 1)?)
        }
        _ => unknown(format!("the command `{}`", command.words.join(" "))),
    }
}

fn sysctl(machine: &mut dyn Machine, args: &[&str]) -> Result<Ran, ShellError> {
    let (mut ok, mut ignore, mut quiet) = (true, false, false);
    let mut out = String::new();
    for arg in args {
        match *arg {
            "-q" => quiet = true,
            "-e" => ignore = true,
            "-w" => {}
            "-qe" | "-eq" => (quiet, ignore) = (true, true),
            flag if flag.starts_with('-') => return unknown(format!("sysctl {flag}")),
            setting => match setting.split_once('=') {
                Some((name, value)) => {
                    let name = name.trim().replace('/', ".");
                    let written = status(machine.sysctl_write(&name, value.trim()))?;
                    ok &= written || ignore;
                    if !quiet {
                        out.push_str(&format!("{name} = {}\n", value.trim()));
                    }
                }
                None => out.push_str(&format!("{setting} = {}\n", machine.sysctl_read(setting)?)),
            },
        }
    }
    Ok(Ran { ok, out })
}

/// Remembers the old values for `/tmp/sysctl_restore_${PPID}.sh`. Its last status is that of making that file.
fn set_sysctls(machine: &mut dyn Machine, memory: &mut Memory, args: &[&str]) -> Result<Ran, ShellError> {
    memory.restore.clear();
    for arg in args {
        let Some((name, value)) = arg.strip_prefix("/proc/sys/").and_then(|a| a.split_once('=')) else {
            return unknown(format!("set_sysctls.py {arg}"));
        };
        let name = name.replace('/', ".");
        let old = machine.sysctl_read(&name)?;
        memory.restore.push((name.clone(), old));
        status(machine.sysctl_write(&name, value))?;
    }
    done(true)
}

fn ip(machine: &mut dyn Machine, args: &[&str]) -> Result<Ran, ShellError> {
    let args = match args {
        ["-4" | "-6", rest @ ..] => rest,
        all => all,
    };
    match args {
        ["tcp_metrics", "flush", ..] => {
            machine.flush_tcp_metrics();
            done(true)
        }
        ["route" | "addr" | "address" | "link" | "neigh", ..] => {
            done(status(machine.ip(&format!("ip {}", args.join(" "))))?)
        }
        _ => unknown(format!("ip {}", args.join(" "))),
    }
}

fn tc(machine: &mut dyn Machine, args: &[&str]) -> Result<Ran, ShellError> {
    match args {
        ["qdisc", "del" | "delete", "dev", "tun0", "root"] => done(status(machine.qdisc(None, None))?),
        ["qdisc", "add" | "replace" | "change", "dev", "tun0", "root", kind, options @ ..] => {
            let limit = match options {
                [] => None,
                ["limit", n] => Some(n.parse().map_err(|_| ShellError::Failed(format!("tc: limit {n}")))?),
                other => return unknown(format!("tc qdisc {kind} {}", other.join(" "))),
            };
            done(status(machine.qdisc(Some(kind), limit))?)
        }
        other => unknown(format!("tc {}", other.join(" "))),
    }
}

fn ethtool(machine: &mut dyn Machine, features: &[&str]) -> Result<Ran, ShellError> {
    for pair in features.chunks(2) {
        match pair {
            [feature, state @ ("on" | "off")] => machine.offload(feature, *state == "on")?,
            other => return unknown(format!("ethtool -K tun0 {}", other.join(" "))),
        }
    }
    done(true)
}

/// What has been counted since `nstat` ran last.
fn nstat(machine: &mut dyn Machine, memory: &mut Memory) -> Ran {
    let mut out = String::from("#kernel\n");
    for (name, value) in machine.counters() {
        let before = memory.seen.insert(name.clone(), value).unwrap_or(0);
        if value > before {
            out.push_str(&format!("{name:<32}{:<19}0.0\n", value - before));
        }
    }
    Ran { ok: true, out }
}

/// `grep WORD`, on what comes in or on `/proc/net/tcp`.
fn grep(machine: &mut dyn Machine, args: &[&str], input: Option<&str>) -> Result<Ran, ShellError> {
    let Some((pattern, files)) = args.split_first() else { return unknown("grep without a pattern") };
    if pattern.starts_with('-') || pattern.contains(['*', '[', '.', '^', '$', '\\']) {
        return unknown(format!("grep {pattern}"));
    }
    let mut text = input.unwrap_or_default().to_owned();
    for file in files {
        match *file {
            "/proc/net/tcp" => text.push_str(&machine.proc_net_tcp(false)?),
            "/proc/net/tcp6" => text.push_str(&machine.proc_net_tcp(true)?),
            other => return unknown(format!("grep in {other}")),
        }
    }
    let found: Vec<&str> = text.lines().filter(|l| l.contains(pattern)).collect();
    Ok(Ran { ok: !found.is_empty(), out: found.join("\n") })
}

/// `dd if=/dev/zero of=FILE bs=N count=N`
fn dd(machine: &mut dyn Machine, args: &[&str]) -> Result<Ran, ShellError> {
    let (mut block, mut count, mut path, mut zero) = (512_usize, None, None, false);
    for arg in args {
        let number = |text: &str| text.parse().map_err(|_| ShellError::Unsupported(format!("dd {arg}")));
        match arg.split_once('=') {
            Some(("bs", n)) => block = number(n)?,
            Some(("count", n)) => count = Some(number(n)?),
            Some(("if", "/dev/zero")) => zero = true,
            Some(("of", file)) => path = Some(file.to_owned()),
            Some(("status", _)) => {}
            _ => return unknown(format!("dd {arg}")),
        }
    }
    let len: Option<usize> = count.and_then(|n| block.checked_mul(n)).filter(|n| *n <= MAX_FILE);
    match (path, len) {
        (Some(path), Some(len)) if zero => {
            machine.files().insert(path, vec![0; len]);
            done(true)
        }
        _ => unknown(format!("dd {}", args.join(" "))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default)]
    struct Fake {
        sysctls: BTreeMap<String, String>,
        said: Vec<String>,
        files: BTreeMap<String, Vec<u8>>,
        counted: u64,
    }

    impl Machine for Fake {
        fn sysctl_read(&mut self, name: &str) -> Result<String, ShellError> {
            Ok(self.sysctls.get(name).cloned().unwrap_or("old".into()))
        }
        fn sysctl_write(&mut self, name: &str, value: &str) -> Result<(), ShellError> {
            if name == "no.such" {
                return Err(ShellError::Failed("no such".into()));
            }
            self.sysctls.insert(name.into(), value.into());
            Ok(())
        }
        fn ip(&mut self, text: &str) -> Result<(), ShellError> {
            self.said.push(text.into());
            Ok(())
        }
        fn flush_tcp_metrics(&mut self) {
            self.said.push("flush".into());
        }
        fn qdisc(&mut self, kind: Option<&str>, limit: Option<u32>) -> Result<(), ShellError> {
            self.said.push(format!("{kind:?} {limit:?}"));
            Ok(())
        }
        fn offload(&mut self, feature: &str, on: bool) -> Result<(), ShellError> {
            self.said.push(format!("{feature} {on}"));
            Ok(())
        }
        fn counters(&mut self) -> Vec<(String, u64)> {
            self.counted += 1;
            vec![("TcpExtA".into(), self.counted), ("TcpExtB".into(), 5)]
        }
        fn proc_net_tcp(&mut self, _v6: bool) -> Result<String, ShellError> {
            Ok(" 0: 0100007F:1F90 00000000:0000 0A 0".into())
        }
        fn module_parameter(&mut self, name: &str, value: &str) -> Result<(), ShellError> {
            self.said.push(format!("{name}={value}"));
            Ok(())
        }
        fn files(&mut self) -> &mut BTreeMap<String, Vec<u8>> {
            &mut self.files
        }
    }

    fn ran(text: &str) -> (Fake, Result<(), ShellError>) {
        let mut fake = Fake::default();
        let result = run(&mut fake, &mut Memory::default(), text, Path::new("."));
        (fake, result)
    }

    #[test]
    fn sysctls_are_set_and_restored() {
        let (fake, result) = ran(
            "sysctl -q a.b=\"4096 $((2*1024)) 7\" \\\n c/d=1 # why\n../common/set_sysctls.py /proc/sys/net/x=5",
        );
        assert_eq!(result, Ok(()));
        assert_eq!(fake.sysctls["a.b"], "4096 2048 7");
        assert_eq!(fake.sysctls["c.d"], "1");
        assert_eq!(fake.sysctls["net.x"], "5");
        let (fake, _) = ran("set_sysctls.py /proc/sys/net/x=5; /tmp/sysctl_restore_${PPID}.sh");
        assert_eq!(fake.sysctls["net.x"], "old");
    }

    #[test]
    fn the_last_status_counts_and_alternatives_are_tried() {
        assert!(ran("sysctl no.such=1").1.is_err());
        assert_eq!(ran("sysctl no.such=1; true").1, Ok(()));
        let (fake, result) = ran("sysctl -q no.such=1 &> /dev/null || ip tcp_metrics flush all &> /dev/null");
        assert_eq!((fake.said.as_slice(), result), (["flush".to_owned()].as_slice(), Ok(())));
        assert_eq!(ran("true || ip link set tun0 down").0.said.len(), 0);
    }

    #[test]
    fn nstat_shows_what_is_new() {
        assert_eq!(ran("nstat > /dev/null; nstat | grep TcpExtA > /dev/null").1, Ok(()));
        assert!(ran("nstat > /dev/null; nstat | grep TcpExtB").1.is_err());
        assert_eq!(ran("grep \" 0A \" /proc/net/tcp /proc/net/tcp6 | grep \":1F90\"").1, Ok(()));
    }

    #[test]
    fn queues_files_and_features() {
        let (fake, result) =
            ran("tc qdisc replace dev tun0 root fq\ntc qdisc add dev tun0 root pfifo limit 0\n\
             ethtool -K tun0 tso off gso off\n/bin/dd bs=2 count=5 if=/dev/zero of=/tmp/f status=none\n\
             echo 3 > /sys/module/tcp_cubic/parameters/hystart_detect");
        assert_eq!(result, Ok(()));
        assert_eq!(fake.files["/tmp/f"].len(), 10);
        assert_eq!(fake.said[4], "tcp_cubic/parameters/hystart_detect=3");
    }

    #[test]
    fn what_is_not_understood_is_said() {
        for text in
            ["iptables -A INPUT", "sysctl --system", "echo x > /etc/passwd", "for i in 1; do true; done"]
        {
            assert!(matches!(ran(text).1, Err(ShellError::Unsupported(_))), "{text}");
        }
    }
}
