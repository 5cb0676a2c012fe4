//! The catalogue: every question the lab answers, embedded in the binary. A scenario's name is its path
//! under `scenarios/`; the last part is unique and enough.

use crate::diagnostic::suggest;

/// One scenario of the catalogue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its path without `.toml`: `link/arp-resolution`.
    pub name: &'static str,
    /// The whole file.
    pub text: &'static str,
}

impl Entry {
    /// What messages call it: `scenarios/link/arp-resolution.toml`.
    pub fn origin(&self) -> String {
        format!("scenarios/{}.toml", self.name)
    }

    /// The last part of the name.
    pub fn short(&self) -> &'static str {
        self.name.rsplit('/').next().expect("rsplit gives at least one part")
    }

    /// The first part of the name: `link`, `ip`, `udp`.
    pub fn area(&self) -> &'static str {
        self.name.split('/').next().expect("split gives at least one part")
    }
}

static ENTRIES: &[Entry] = include!(concat!(env!("OUT_DIR"), "/catalogue.rs"));

/// Every scenario, sorted by name.
pub fn all() -> &'static [Entry] {
    ENTRIES
}

/// No scenario has that name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotFound {
    /// The name that was asked for.
    pub name: String,
    /// What may have been meant.
    pub hint: Option<String>,
}

impl core::fmt::Display for NotFound {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "no scenario is named `{}`", self.name)?;
        if let Some(hint) = &self.hint {
            write!(f, "; {hint}")?;
        }
        Ok(())
    }
}

impl std::error::Error for NotFound {}

/// Finds a scenario by its whole name or its last part.
///
/// # Errors
/// No such name, with the closest one.
pub fn find(name: &str) -> Result<&'static Entry, NotFound> {
    let wanted = name.trim_end_matches(".toml");
    if let Some(entry) = ENTRIES.iter().find(|e| e.name == wanted || e.short() == wanted) {
        return Ok(entry);
    }
    let parts: Vec<&str> = if wanted.contains('/') {
        ENTRIES.iter().map(|e| e.name).collect()
    } else {
        ENTRIES.iter().map(Entry::short).collect()
    };
    let close = suggest(wanted, parts.iter().copied()).filter(|s| s.starts_with("did you mean"));
    let containing: Vec<&str> =
        parts.iter().copied().filter(|p| !wanted.is_empty() && p.contains(wanted)).take(8).collect();
    let hint = match close {
        Some(close) => Some(close),
        None if !containing.is_empty() => Some(format!("names that contain it: {}", containing.join(", "))),
        None => Some("`wirelab list` shows them all".into()),
    };
    Err(NotFound { name: name.into(), hint })
}
