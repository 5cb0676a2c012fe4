//! What can go wrong with hosts on the real kernel, in words that say what to do.

use core::fmt;

/// This process may not make namespaces or TAP interfaces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoPermission {
    /// What was tried and refused, such as `unshare(CLONE_NEWNET): EPERM (Operation not permitted)`.
    pub missing: String,
    /// How to get it.
    pub hint: String,
}

impl fmt::Display for NoPermission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "hosts on the real kernel are not possible here: {}\nhint: {}; `--on stack` needs no permission at all",
            self.missing, self.hint
        )
    }
}

impl core::error::Error for NoPermission {}

/// Why a run with hosts on the real kernel ended early. Everything it made is gone by then.
#[derive(Debug)]
pub enum LinuxError {
    /// No namespaces or no TAP interfaces.
    Permission(NoPermission),
    /// A host could not be made as the scenario describes it.
    Setup {
        /// The host's name.
        host: String,
        /// The command or setting, and what the kernel or the tool said.
        what: String,
        /// What to do about it.
        hint: Option<String>,
    },
    /// The agent of a host went away while the world ran.
    AgentDied {
        /// The host's name.
        host: String,
        /// What is known about how.
        how: String,
    },
    /// A system call of the driver itself failed.
    Io {
        /// What it was doing.
        doing: String,
        /// Why not.
        error: std::io::Error,
    },
}

impl LinuxError {
    pub(crate) fn io(doing: impl Into<String>) -> impl FnOnce(std::io::Error) -> LinuxError {
        let doing = doing.into();
        move |error| LinuxError::Io { doing, error }
    }
}

impl fmt::Display for LinuxError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LinuxError::Permission(p) => p.fmt(f),
            LinuxError::Setup { host, what, hint } => {
                write!(f, "{host}: {what}")?;
                if let Some(hint) = hint {
                    write!(f, "\nhint: {hint}")?;
                }
                Ok(())
            }
            LinuxError::AgentDied { host, how } => {
                write!(f, "{host}: the agent in its namespace ended: {how}")
            }
            LinuxError::Io { doing, error } => write!(f, "{doing}: {error}"),
        }
    }
}

impl core::error::Error for LinuxError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            LinuxError::Io { error, .. } => Some(error),
            LinuxError::Permission(p) => Some(p),
            LinuxError::Setup { .. } | LinuxError::AgentDied { .. } => None,
        }
    }
}

impl From<NoPermission> for LinuxError {
    fn from(p: NoPermission) -> LinuxError {
        LinuxError::Permission(p)
    }
}
