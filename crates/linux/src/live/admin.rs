//! `ip` and `sysctl` commands as a namespace's tools take them.

use stack::admin::Admin;

/// One step that an agent can do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Lines for one `ip -batch -`: starting `ip` costs more than what it does.
    Batch(Vec<String>),
    /// One command by itself.
    Command(Vec<String>),
    /// `sysctl -w NAME=VALUE`, which the agent writes without a tool.
    Sysctl(String, String),
}

/// A command line as one step.
pub(super) fn step(admin: &Admin) -> Step {
    step_of(&admin.to_string())
}

fn step_of(line: &str) -> Step {
    let words: Vec<&str> = line.split_whitespace().collect();
    match words.as_slice() {
        ["sysctl", "-w", setting @ ..] => {
            let setting = setting.join(" ");
            let (name, value) = setting.split_once('=').unwrap_or((&setting, ""));
            Step::Sysctl(name.trim().to_owned(), unquoted(value.trim()).to_owned())
        }
        // Options before the object (`ip -6 route`) are not allowed in a batch line.
        ["ip", first, rest @ ..] if !first.starts_with('-') => {
            let mut words = vec![*first];
            words.extend_from_slice(rest);
            Step::Batch(vec![words.join(" ")])
        }
        words => Step::Command(words.iter().map(|w| (*w).to_owned()).collect()),
    }
}

/// A word as a shell reads it.
fn unquoted(word: &str) -> &str {
    let inside = |quote| word.strip_prefix(quote).and_then(|w| w.strip_suffix(quote));
    inside('\'').or_else(|| inside('"')).unwrap_or(word)
}

/// Commands as few steps, in order.
pub(super) fn steps(commands: &[Admin]) -> Vec<Step> {
    let mut out: Vec<Step> = Vec::new();
    for command in commands {
        match (out.last_mut(), step(command)) {
            (Some(Step::Batch(lines)), Step::Batch(more)) => lines.extend(more),
            (_, step) => out.push(step),
        }
    }
    out
}

/// The command line that a step runs, and its standard input.
pub(super) fn argv(step: &Step) -> Option<(Vec<String>, String)> {
    match step {
        Step::Batch(lines) if lines.len() == 1 => Some((
            std::iter::once("ip").chain(lines[0].split(' ')).map(str::to_owned).collect(),
            String::new(),
        )),
        Step::Batch(lines) => {
            let argv = ["ip", "-batch", "-"].map(str::to_owned).into();
            Some((argv, lines.join("\n") + "\n"))
        }
        Step::Command(argv) => Some((argv.clone(), String::new())),
        Step::Sysctl(..) => None,
    }
}

/// What `ip` said, with the command it said it about: in a batch it names the line by its number
/// (`Command failed -:3`).
pub(super) fn blame(step: &Step, stderr: &str) -> String {
    let said: Vec<&str> = stderr
        .lines()
        .filter(|line| !line.starts_with("Command failed") && !line.trim().is_empty())
        .collect();
    let said = said.join("; ");
    let command = match step {
        Step::Batch(lines) => {
            let number = stderr
                .lines()
                .find_map(|line| line.strip_prefix("Command failed -:"))
                .and_then(|n| n.trim().parse::<usize>().ok())
                .unwrap_or(1);
            format!("ip {}", lines.get(number.saturating_sub(1)).map_or("-batch", String::as_str))
        }
        Step::Command(argv) => argv.join(" "),
        Step::Sysctl(name, value) => format!("sysctl -w {name}={value}"),
    };
    format!("`{command}`: {said}")
}

/// What to do about what a tool said, where that is known.
pub(super) fn hint(stderr: &str) -> Option<String> {
    stderr.contains("Unknown device type").then(|| {
        "this kernel has no interfaces of that kind: load its module (ip_gre, ipip, sit, ip6_tunnel, vxlan, 8021q), \
         or keep that host on our stack, as `--on HOST=stack`"
            .into()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn command_lines_become_steps() {
        assert_eq!(step_of("ip link set eth0 up"), Step::Batch(vec!["link set eth0 up".into()]));
        assert_eq!(
            step_of("sysctl -w net.ipv4.ip_forward=1"),
            Step::Sysctl("net.ipv4.ip_forward".into(), "1".into())
        );
        assert_eq!(
            step_of("sysctl -w net.ipv4.tcp_rmem='4096 131072 6291456'"),
            Step::Sysctl("net.ipv4.tcp_rmem".into(), "4096 131072 6291456".into())
        );
        assert!(matches!(step_of("ip -6 route add default via fe80::1 dev eth0"), Step::Command(_)));
    }

    #[test]
    fn a_failed_batch_names_its_line() {
        let step = Step::Batch(vec!["link set eth0 up".into(), "addr add 192.0.2.1/24 dev eth7".into()]);
        let stderr = "Cannot find device \"eth7\"\nCommand failed -:2\n";
        assert_eq!(blame(&step, stderr), "`ip addr add 192.0.2.1/24 dev eth7`: Cannot find device \"eth7\"");
    }
}
