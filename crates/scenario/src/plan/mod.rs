//! A scenario as run: everything named, parsed and defaulted; what is wrong with the file is said all at once.
//!
//! * [`hosts`]: hosts, interfaces, addresses, sysctls, commands before the start
//! * [`links`]: switches and cables
//! * [`programs`]: commands and scripts
//! * [`faults`]: what goes wrong on the wire
//! * [`expect`]: what must be seen

pub(crate) mod expect;
pub(crate) mod faults;
pub(crate) mod hosts;
pub(crate) mod links;
pub(crate) mod programs;
mod shell;

use core::ops::Range;
use core::time::Duration;
use std::net::IpAddr;
#[cfg(feature = "apps")]
use std::sync::Arc;

use sim::program::script::HostAddrs;
use stack::KernelProfile;
use stack::admin::Admin;
use wire::Instant;

use crate::diagnostic::{Diagnostic, suggest};
use crate::file::{Compared, File, Need};
use crate::overrides::Overrides;
#[cfg(feature = "apps")]
use crate::source::join;
use crate::source::{Source, place};
use crate::values::{self, BadValue};

/// A scenario as run.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The catalogue name, or the file's name without `.toml`.
    pub name: String,
    /// The question.
    pub question: String,
    /// The question in Chinese.
    pub question_zh: Option<String>,
    /// What is set up and what to look at.
    pub about: Option<String>,
    /// Whether the real kernel must agree.
    pub kernel: bool,
    /// Why there is nothing to compare with the real kernel, when the file says so.
    pub twin_skip: Option<String>,
    /// Only kernels in virtual time are asked.
    pub twin_virtual: bool,
    /// The seed of all randomness.
    pub seed: u64,
    /// The feature of the build that its programs need.
    pub needs: Option<Need>,
    /// It names variants to run side by side.
    pub compares: bool,
    /// The names of all hosts, in the order of the file.
    pub hosts: Vec<String>,
    pub(crate) until: Option<Instant>,
    pub(crate) host_plans: Vec<hosts::HostPlan>,
    pub(crate) switches: Vec<links::SwitchPlan>,
    pub(crate) cables: Vec<links::CablePlan>,
    pub(crate) programs: Vec<programs::ProgramPlan>,
    #[cfg(feature = "apps")]
    pub(crate) pki: Arc<apps::pki::Pki>,
    pub(crate) faults: Vec<faults::FaultPlan>,
    pub(crate) expect: Vec<expect::ExpectPlan>,
    /// What real time adds to every tolerance.
    #[cfg_attr(
        not(feature = "linux"),
        expect(dead_code, reason = "without the kernel there is no real time")
    )]
    pub(crate) tolerance: Duration,
    /// How far the twin's times may be apart, when the file says so.
    pub(crate) twin_tolerance: Option<Duration>,
    pub(crate) compare: Vec<Compared>,
}

impl Plan {
    /// Why this build cannot run it, and how to get one that can.
    pub fn unmet_need(&self) -> Option<String> {
        let need = self.needs.filter(|need| !need.is_met())?;
        let name = self.name.rsplit('/').next().unwrap_or_default();
        match need {
            Need::Boring => Some(format!(
                "this build is without BoringSSL, which {name} needs: cargo run --release --features boring -- run {name} \
                 (building it takes cmake, g++, git and libclang)"
            )),
        }
    }

    /// Who is there.
    pub(crate) fn names(&self) -> Names {
        let names = Names::new(&self.host_plans, &self.switches, &self.cables);
        #[cfg(feature = "apps")]
        let names = Names { pki: self.pki.clone(), ..names };
        names
    }
}

/// How far the times of two runs may differ unless the file says otherwise.
const DEFAULT_TWIN_TOLERANCE: Duration = Duration::from_millis(50);

/// Turns a file, with the command line's changes, into what is run.
///
/// # Errors
/// Everything that is wrong with the file or the changes, in the order of the file.
pub fn plan(file: &File, overrides: &Overrides) -> Result<Plan, Vec<Diagnostic>> {
    let content = &file.content;
    let seed = overrides.seed.unwrap_or_else(|| u64::from(content.seed.unwrap_or(1)));
    let mut checks = Checks { source: &file.source, found: Vec::new(), seed };
    let until = content.until.as_ref().and_then(|t| checks.value(&place!("until"), values::instant(t)));
    let mut host_plans = hosts::plan(&mut checks, content);
    let (switches, cables) = links::plan(&mut checks, content, &mut host_plans);
    hosts::apply_overrides(&mut checks, &mut host_plans, overrides);
    let names = Names::new(&host_plans, &switches, &cables);
    #[cfg(feature = "apps")]
    let names = Names { pki: certificates(&mut checks, content), ..names };
    let programs = programs::plan(&mut checks, content, &names);
    let mut faults = faults::plan(&mut checks, content, &names);
    faults::add_overrides(&mut checks, &mut faults, overrides, &names);
    let expect = expect::plan(&mut checks, content, &names);
    crate::compare::check(&mut checks, file, overrides);
    let twin = &content.twin;
    let tolerance =
        twin.tolerance.as_ref().map(|t| checks.value(&place!("twin", "tolerance"), values::duration(t)));
    if !checks.found.is_empty() {
        let mut found = checks.found;
        found.sort_by_key(|d| d.span.as_ref().map_or(usize::MAX, |s| s.start));
        return Err(found);
    }
    let base = file.origin().trim_start_matches("scenarios/");
    Ok(Plan {
        name: base.trim_end_matches(".toml").to_string(),
        question: content.question.clone(),
        question_zh: content.question_zh.clone(),
        about: content.about.clone(),
        kernel: content.kernel,
        twin_skip: twin.skip.clone(),
        twin_virtual: twin.only == Some(crate::file::TwinOnly::Uml),
        seed,
        needs: content.needs,
        compares: content.compare.is_some(),
        hosts: content.hosts.keys().cloned().collect(),
        until,
        host_plans,
        switches,
        cables,
        programs,
        #[cfg(feature = "apps")]
        pki: names.pki,
        faults,
        expect,
        tolerance: tolerance.flatten().unwrap_or(DEFAULT_TWIN_TOLERANCE),
        twin_tolerance: tolerance.flatten(),
        compare: twin.compare.clone().unwrap_or_else(|| {
            vec![Compared::Packets, Compared::Calls, Compared::Neighbours, Compared::Counters]
        }),
    })
}

/// Reads the certificates.
#[cfg(feature = "apps")]
fn certificates(checks: &mut Checks<'_>, content: &crate::file::Content) -> Arc<apps::pki::Pki> {
    match apps::pki::Pki::new(&content.certificates) {
        Ok(pki) => Arc::new(pki),
        Err(problems) => {
            for problem in problems {
                let place = problem.path.iter().fold(place!("certificates"), |path, part| join(&path, part));
                checks.at_value(&place, problem.message, problem.help);
            }
            Arc::default()
        }
    }
}

/// Collects what is wrong.
pub(crate) struct Checks<'a> {
    pub(crate) source: &'a Source,
    pub(crate) found: Vec<Diagnostic>,
    /// The seed of the run.
    #[cfg_attr(not(feature = "apps"), expect(dead_code, reason = "only these programs ask for it"))]
    pub(crate) seed: u64,
}

impl Checks<'_> {
    /// Notes a diagnostic.
    pub(crate) fn add(&mut self, diagnostic: Diagnostic) {
        self.found.push(diagnostic);
    }

    /// Notes what is wrong about a value.
    pub(crate) fn at_value(
        &mut self,
        path: &str,
        message: impl Into<String>,
        help: impl Into<Option<String>>,
    ) {
        self.found.push(self.source.at_value(path, message).help(help));
    }

    /// Notes what is wrong about a key.
    pub(crate) fn at_key(&mut self, path: &str, message: impl Into<String>, help: impl Into<Option<String>>) {
        self.found.push(self.source.at_key(path, message).help(help));
    }

    /// Notes what is wrong about some bytes of a string.
    pub(crate) fn inside(&mut self, path: &str, part: Range<usize>, message: String, help: Option<String>) {
        // Something missing has no width: underline the character before it, or the whole.
        let part = if part.is_empty() { part.start.saturating_sub(1)..part.start.max(1) } else { part };
        self.found.push(self.source.diagnostic(self.source.inside(path, part), message).help(help));
    }

    /// The value, or `None` with a note of what is wrong with it.
    pub(crate) fn value<T>(&mut self, path: &str, read: Result<T, BadValue>) -> Option<T> {
        match read {
            Ok(value) => Some(value),
            Err(bad) => {
                self.inside(path, bad.part, bad.message, bad.help);
                None
            }
        }
    }

    /// Looks a host up by name, and notes when there is none.
    pub(crate) fn host(&mut self, path: &str, name: &str, names: &Names) -> Option<usize> {
        let found = names.host(name);
        if found.is_none() {
            self.at_value(path, format!("no host is named `{name}`"), suggest(name, names.host_names()));
        }
        found
    }
}

/// Who is there, for everything that names hosts, interfaces and links.
pub(crate) struct Names {
    pub(crate) hosts: Vec<HostNames>,
    pub(crate) switches: Vec<String>,
    pub(crate) links: Vec<String>,
    #[cfg(feature = "apps")]
    pub(crate) pki: Arc<apps::pki::Pki>,
}

/// What names of one host stand for.
#[derive(Clone, Debug)]
pub(crate) struct HostNames {
    pub(crate) name: String,
    pub(crate) ipv4: Option<IpAddr>,
    pub(crate) ipv6: Option<IpAddr>,
    pub(crate) mac: Option<wire::MacAddr>,
    /// Interface names; the first is number 2, after `lo`.
    pub(crate) ifaces: Vec<String>,
}

impl Names {
    fn new(hosts: &[hosts::HostPlan], switches: &[links::SwitchPlan], cables: &[links::CablePlan]) -> Names {
        let address = |host: &hosts::HostPlan, v6: bool| {
            host.nics.iter().flat_map(|n| &n.addrs).map(|(a, _)| *a).find(|a| a.is_ipv6() == v6)
        };
        let of = |host: &hosts::HostPlan| HostNames {
            name: host.name.clone(),
            ipv4: address(host, false),
            ipv6: address(host, true),
            mac: host.nics.first().map(|n| n.mac),
            ifaces: host.nics.iter().map(|n| n.name.clone()).collect(),
        };
        Names {
            hosts: hosts.iter().map(of).collect(),
            switches: switches.iter().map(|s| s.name.clone()).collect(),
            links: cables.iter().map(|c| c.name.clone()).collect(),
            #[cfg(feature = "apps")]
            pki: Arc::default(),
        }
    }

    /// What names stand for in a program of one host.
    pub(crate) fn for_programs(&self, host: usize) -> sim::program::script::Names {
        let addrs = |h: &HostNames| HostAddrs {
            v4: h.ipv4.and_then(|a| if let IpAddr::V4(v4) = a { Some(v4) } else { None }),
            v6: h.ipv6.and_then(|a| if let IpAddr::V6(v6) = a { Some(v6) } else { None }),
        };
        let hosts = self.hosts.iter().map(|h| (h.name.clone(), addrs(h))).collect();
        // `lo` is 1 in a new namespace and on our stack.
        let numbered = self.hosts[host].ifaces.iter().cloned().zip(2..);
        let interfaces = std::iter::once(("lo".to_string(), 1)).chain(numbered).collect();
        sim::program::script::Names { hosts, interfaces }
    }

    /// What a program above the sockets may know that runs on the host of this name.
    #[cfg(feature = "apps")]
    pub(crate) fn for_apps(&self, host: &str, seed: u64) -> apps::Env {
        let addresses = |h: &HostNames| h.ipv4.into_iter().chain(h.ipv6).collect();
        let hosts = self.hosts.iter().map(|h| (h.name.clone(), addresses(h))).collect();
        apps::Env { host: host.into(), hosts, seed, pki: self.pki.clone() }
    }

    /// The index of a host.
    pub(crate) fn host(&self, name: &str) -> Option<usize> {
        self.hosts.iter().position(|h| h.name == name)
    }

    pub(crate) fn host_names(&self) -> impl Iterator<Item = &str> {
        self.hosts.iter().map(|h| h.name.as_str())
    }

    /// Everything that a fault's place may name.
    pub(crate) fn places(&self) -> Vec<&str> {
        self.host_names()
            .chain(self.switches.iter().map(String::as_str))
            .chain(self.links.iter().map(String::as_str))
            .collect()
    }
}

/// Reads an `ip` or `sysctl` command.
pub(crate) fn admin(text: &str) -> Result<Admin, BadValue> {
    Admin::parse(text).map_err(|e| BadValue {
        part: e.offset..e.offset + e.len,
        message: e.message.clone(),
        help: e.hint.clone(),
    })
}

/// Reads a kernel profile.
pub(crate) fn profile(text: &str) -> Result<KernelProfile, BadValue> {
    match text {
        "4.4" => Ok(KernelProfile::V4_4),
        "5.15" => Ok(KernelProfile::V5_15),
        "6.12" => Ok(KernelProfile::V6_12),
        "6.18" => Ok(KernelProfile::V6_18),
        _ => Err(BadValue::new(text, format!("no kernel profile `{text}`"), "known: 4.4, 5.15, 6.12, 6.18")),
    }
}
