//! Sysctls, typed and named as in Linux, with the defaults of kernel 6.18.

use crate::KernelProfile;

/// A host's settings.
#[derive(Clone, Debug)]
pub struct Sysctls {
    profile: KernelProfile,
}

impl Sysctls {
    /// The defaults of a fresh network namespace of that kernel.
    pub fn new(profile: KernelProfile) -> Sysctls {
        Sysctls { profile }
    }
}
