//! Hosts on the real kernel: namespaces, TAP, sysctls, call agent, probes.
//!
//! A [`LiveWorld`] is a [`sim::World`] whose external nodes are network namespaces of this machine. Every
//! interface of such a host is a TAP (or TUN) whose other side is the world: what the kernel sends is
//! injected there, with all its links, switches and faults, and what arrives is written back. Programs make
//! real system calls in processes of their own. The clock is the machine's.
//!
//! * [`check_permission`]: whether this process may
//! * [`LiveWorld::new`], [`LiveWorld::run`], [`LiveWorld::exec`]
//! * [`Netns`]: a namespace by itself, for peers of a TAP
//! * [`agent_main`]: the other half, which `main` of the binary calls first
//!
//! Map: `agent` lives in the namespace, `agent_handle` and `protocol` talk to it; `netlink`, `nstat`, `probe` and `stamps`
//! look into the namespace from outside; `live` joins it all to the world.

/// How C programs hold what [`stack::call`] names: addresses, control messages, option values.
pub mod abi {
    pub use crate::agent::calls::{option_bytes, option_value};
    pub use crate::agent::cmsg::{decode, encode};
    pub use crate::agent::sockaddr::RawAddr;
}
mod agent;
mod agent_handle;
mod error;
mod live;
mod memfile;
mod netlink;
mod netns;
mod nstat;
mod permission;
mod probe;
mod protocol;
mod stamps;
mod sys;
pub mod testing;
pub mod tun;
pub mod uml;

pub use agent::agent_main;
pub use error::{LinuxError, NoPermission};
pub use live::{ExecOutput, LiveBody, LiveEnd, LiveHost, LiveIface, LiveProgram, LiveWorld, ProgramResult};
pub use netns::Netns;
pub use permission::{check_permission, enter_own_network};

/// `uname -r`: the kernel that the hosts run on.
pub fn kernel_release() -> String {
    sys::uname_release()
}

/// Makes one system call of our vocabulary in the calling thread.
pub fn system_call(call: &stack::call::Call) -> stack::call::CallResult {
    agent::calls::make(call).2
}

/// `CONFIG_HZ` of the kernel that the hosts run on: as its configuration says where that can be read, or 250, as Debian's
/// and Ubuntu's kernels have it.
pub fn kernel_hz() -> u32 {
    if uml::is_guest() {
        return uml::HZ;
    }
    let config = std::fs::read_to_string(format!("/boot/config-{}", kernel_release())).unwrap_or_default();
    let hz = config.lines().find_map(|line| line.strip_prefix("CONFIG_HZ=")?.parse().ok());
    hz.unwrap_or(250)
}
