//! What the command line changes of a scenario: seed, sysctls, faults, the kernel profile.

/// Changes to a file's own run. The default changes nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Overrides {
    /// `--seed N`: all randomness comes from it.
    pub seed: Option<u64>,
    /// `--set host:sysctl=value`, each as it was typed. `*` for the host means every host.
    pub sets: Vec<String>,
    /// `--drop '[PLACE:] [ORDINAL] FILTER'` and its siblings: the action's name (`drop`, `delay`, `duplicate`, `corrupt`), then the text.
    /// A delay is written before the packets: `200ms client->server: 2nd udp`.
    pub faults: Vec<(String, String)>,
    /// `--kernel 4.4`: whose behaviour every host of our stack shows.
    pub kernel: Option<String>,
}

impl Overrides {
    /// Whether anything but the seed differs from the file's own run, so that a comparison with it says something.
    pub fn changes_run(&self) -> bool {
        !self.sets.is_empty() || !self.faults.is_empty() || self.kernel.is_some()
    }
}
