//! The real kernel in virtual time: User-Mode Linux booted with `time-travel=inf-cpu`, as any user.
//!
//! A kernel built by [`build`] lies in the user's cache. [`boot`] starts it with the machine's own root as a read-only
//! `hostfs`, and runs a program of that root in it, usually this very binary: a world with hosts on the kernel. Whenever
//! everything in there sleeps its clock jumps to the next timer, so a quarter of an hour of retransmissions takes
//! seconds, and nothing disturbs the times. It needs x86-64, and no rights at all.
//!
//! Inside, [`guest_main`] is process 1: it mounts what a program expects, runs the one program, and switches off.

mod boot;
mod build;
mod guard;
mod guest;

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

pub use boot::{Job, Ran, boot};
pub use build::{BuildOptions, Progress, build};
pub use guest::{guest_main, is_guest};

/// `CONFIG_HZ` of every User-Mode Linux kernel (arch/um/Kconfig).
pub const HZ: u32 = 100;

/// A kernel in the cache.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kernel {
    /// `uname -r`, such as `6.12.117`.
    pub release: String,
    /// What it was built from.
    pub source: String,
    /// The program.
    #[serde(skip)]
    pub path: PathBuf,
}

/// Why there is no kernel, or what happened to it.
#[derive(Debug)]
pub struct UmlError {
    /// What is wrong.
    pub what: String,
    /// What to do about it.
    pub hint: Option<String>,
    /// Whether what was asked for is wrong; otherwise the machine lacks something, or it broke.
    pub asked_wrongly: bool,
}

impl UmlError {
    /// What was asked for is wrong.
    fn asked(what: impl Into<String>, hint: impl Into<String>) -> UmlError {
        UmlError { asked_wrongly: true, ..UmlError::new(what, hint) }
    }

    fn new(what: impl Into<String>, hint: impl Into<String>) -> UmlError {
        UmlError { what: what.into(), hint: Some(hint.into()), asked_wrongly: false }
    }

    fn io(doing: impl Into<String>) -> impl FnOnce(std::io::Error) -> UmlError {
        let doing = doing.into();
        move |e| UmlError { what: format!("{doing}: {e}"), hint: None, asked_wrongly: false }
    }
}

impl core::fmt::Display for UmlError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(&self.what)
    }
}

impl core::error::Error for UmlError {}

/// Where kernels are kept: `$XDG_CACHE_HOME/wirelab/kernels`, `~/.cache/wirelab/kernels`.
///
/// # Errors
/// Neither variable is set.
pub fn cache() -> Result<PathBuf, UmlError> {
    let var = |name: &str| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    let base = var("XDG_CACHE_HOME").or_else(|| Some(var("HOME")?.join(".cache")));
    let base = base.ok_or_else(|| {
        UmlError::new("there is no folder for kernels", "set HOME, or XDG_CACHE_HOME to a folder of yours")
    })?;
    Ok(base.join("wirelab").join("kernels"))
}

/// The file beside a kernel that says what it is.
const INFO: &str = "kernel.json";
/// What makes a kernel's randomness the same in every run.
const FIXED: &str = "fixed.so";
/// A kernel's file in its folder.
const PROGRAM: &str = "linux";

/// The kernels in the cache, oldest version first.
///
/// # Errors
/// The cache cannot be read.
pub fn kernels() -> Result<Vec<Kernel>, UmlError> {
    let dir = cache()?;
    let entries = match std::fs::read_dir(&dir) {
        Ok(entries) => entries,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(UmlError::io(dir.display().to_string())(e)),
    };
    let mut kernels: Vec<Kernel> = entries.flatten().filter_map(|entry| read(&entry.path())).collect();
    kernels.sort_by_key(|k| numbers(&k.release));
    Ok(kernels)
}

fn read(dir: &Path) -> Option<Kernel> {
    let mut kernel: Kernel = serde_json::from_slice(&std::fs::read(dir.join(INFO)).ok()?).ok()?;
    kernel.path = dir.join(PROGRAM);
    kernel.path.is_file().then_some(kernel)
}

/// The newest kernel in the cache whose release starts with `version`; without one, the newest.
///
/// # Errors
/// There is none, with the command that makes it; or this machine cannot run one.
pub fn find(version: Option<&str>) -> Result<Kernel, UmlError> {
    supported()?;
    let fits = |k: &Kernel| version.is_none_or(|v| k.release == v || k.release.starts_with(&format!("{v}.")));
    kernels()?.into_iter().rfind(fits).ok_or_else(|| {
        let what = version.map(|v| format!(" {v}")).unwrap_or_default();
        let option = version.map(|v| format!(" --version {}", series(v))).unwrap_or_default();
        UmlError::new(
            format!("no User-Mode Linux{what} was built yet"),
            format!("`wirelab kernel build{option}` makes one, in some minutes; `wirelab kernel list` shows what is there"),
        )
    })
}

/// # Errors
/// This machine is none that User-Mode Linux with time travel exists for.
pub fn supported() -> Result<(), UmlError> {
    if cfg!(all(target_os = "linux", target_arch = "x86_64")) {
        return Ok(());
    }
    Err(UmlError::new(
        format!(
            "User-Mode Linux with virtual time exists for Linux on x86-64 only, and this is {} on {}",
            std::env::consts::OS,
            std::env::consts::ARCH
        ),
        "everything else works: `--on stack` here, `--on linux` on any Linux",
    ))
}

/// `6.12` of `6.12.117`: Debian's source packages are named so.
fn series(release: &str) -> &str {
    release.match_indices('.').nth(1).map_or(release, |(at, _)| &release[..at])
}

/// `6.12.117` as numbers, so that 6.9 sorts before 6.12.
fn numbers(release: &str) -> Vec<u32> {
    release.split(|c: char| !c.is_ascii_digit()).map_while(|part| part.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_sort_by_their_numbers() {
        let mut releases = ["6.12.117", "6.9", "6.1.158", "6.12.9-rc1"];
        releases.sort_by_key(|r| numbers(r));
        assert_eq!(releases, ["6.1.158", "6.9", "6.12.9-rc1", "6.12.117"]);
        assert_eq!(["6.12.117", "6.12", "7"].map(series), ["6.12", "6.12", "7"]);
    }
}
