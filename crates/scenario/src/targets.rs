//! Which hosts run on our stack and which on the real kernel: `--on stack`, `--on linux`,
//! `--on client=stack,server=linux`.

use std::collections::BTreeMap;

use crate::diagnostic::suggest;

/// What a host is made of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Target {
    /// Our stack.
    #[default]
    Stack,
    /// The real kernel, in a network namespace.
    Linux,
}

/// A target for each host.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Targets {
    /// For hosts that are not named.
    pub default: Target,
    /// For named hosts.
    pub by_host: BTreeMap<String, Target>,
}

impl Targets {
    /// Every host on our stack, in virtual time.
    pub fn stack() -> Targets {
        Targets::default()
    }

    /// Every host on the real kernel.
    pub fn linux() -> Targets {
        Targets { default: Target::Linux, by_host: BTreeMap::new() }
    }

    /// Reads what follows `--on`.
    ///
    /// # Errors
    /// One sentence that says what is wrong and what to write.
    pub fn parse(text: &str) -> Result<Targets, String> {
        let mut targets = Targets::default();
        for part in text.split(',').map(str::trim) {
            match part.split_once('=') {
                None => targets.default = word(part)?,
                Some((host, target)) => {
                    if targets.by_host.insert(host.trim().into(), word(target.trim())?).is_some() {
                        return Err(format!("`{}` is named twice in `{text}`", host.trim()));
                    }
                }
            }
        }
        Ok(targets)
    }

    /// The target of one host.
    pub fn of(&self, host: &str) -> Target {
        self.by_host.get(host).copied().unwrap_or(self.default)
    }

    /// Whether none of these hosts is on the real kernel, so that the clock can be virtual.
    pub fn all_stack<'a>(&self, hosts: impl IntoIterator<Item = &'a str>) -> bool {
        hosts.into_iter().all(|h| self.of(h) == Target::Stack)
    }

    /// Hosts that are named here but not in the scenario.
    ///
    /// # Errors
    /// The first such name, with the closest one that exists.
    pub fn check<'a>(&self, hosts: impl IntoIterator<Item = &'a str>) -> Result<(), String> {
        let hosts: Vec<&str> = hosts.into_iter().collect();
        for name in self.by_host.keys() {
            if !hosts.contains(&name.as_str()) {
                let hint = suggest(name, hosts.iter().copied()).unwrap_or_default();
                return Err(format!("no host is named `{name}`; {hint}"));
            }
        }
        Ok(())
    }
}

fn word(text: &str) -> Result<Target, String> {
    match text {
        "stack" => Ok(Target::Stack),
        "linux" => Ok(Target::Linux),
        other => {
            Err(format!("`{other}` is no kind of host; write stack, linux, uml, or host=stack,host=linux"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mix_names_hosts_and_the_rest_stays_on_the_stack() {
        let targets = Targets::parse("client=stack, server=linux").unwrap();
        assert_eq!(targets.of("client"), Target::Stack);
        assert_eq!(targets.of("server"), Target::Linux);
        assert_eq!(targets.of("router"), Target::Stack);
        assert!(!targets.all_stack(["client", "server"]));
        assert!(targets.all_stack(["client", "router"]));
    }

    #[test]
    fn wrong_words_and_unknown_hosts_are_named() {
        assert!(Targets::parse("linus").unwrap_err().contains("`linus`"));
        assert!(Targets::parse("a=stack,a=linux").unwrap_err().contains("twice"));
        let typo = Targets::parse("sever=linux").unwrap().check(["client", "server"]).unwrap_err();
        assert!(typo.contains("did you mean `server`?"), "{typo}");
    }
}
