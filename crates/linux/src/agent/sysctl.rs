//! Writes sysctls of the namespace, and refuses those that would change the machine. Linux: net/sysctl_net.c.

use super::Failure;

/// Writes one sysctl by its dotted name; an interface name with dots is written with slashes, as for sysctl(8):
/// `net.ipv4.conf.eth0/10.forwarding`.
///
/// Only names under `net.` exist per namespace; all others belong to the whole machine and are refused.
pub(super) fn write(name: &str, value: &str) -> Result<(), Failure> {
    let Some(path) = path(name) else {
        return Err(Failure { what: format!("sysctl {name}: not per namespace"), errno: libc::EPERM });
    };
    std::fs::write(&path, value).map_err(|e| Failure::new(format!("sysctl {name}={value}"), &e))
}

/// The file of a sysctl; `None` when it is not one of the network's.
pub(crate) fn path(name: &str) -> Option<String> {
    let name = name.trim();
    // sysctl(8): the first separator says which of the two separates; the other one stands for a dot in a name.
    let path: String = match name.find(['.', '/']).map(|at| name.as_bytes()[at]) {
        Some(b'/') => name.to_owned(),
        _ => name
            .chars()
            .map(|c| match c {
                '.' => '/',
                '/' => '.',
                c => c,
            })
            .collect(),
    };
    (path.starts_with("net/") && !path.split('/').any(|part| part.is_empty() || part == ".." || part == "."))
        .then(|| format!("/proc/sys/{path}"))
}

/// Whether a name speaks of that interface (`net.ipv4.conf.eth0.rp_filter`).
pub(super) fn names_interface(name: &str, iface: &str) -> bool {
    path(name).is_some_and(|path| path.split('/').any(|part| part == iface))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_network_sysctls_have_a_path() {
        assert_eq!(path("net.ipv4.ip_forward").unwrap(), "/proc/sys/net/ipv4/ip_forward");
        assert_eq!(
            path("net.ipv4.conf.eth0/10.rp_filter").unwrap(),
            "/proc/sys/net/ipv4/conf/eth0.10/rp_filter"
        );
        assert_eq!(
            path("net/ipv4/conf/eth0.10/rp_filter").unwrap(),
            "/proc/sys/net/ipv4/conf/eth0.10/rp_filter"
        );
        assert_eq!(path("kernel.hostname"), None);
        assert_eq!(path("net.//.kernel.hostname"), None, "no way up");
        assert_eq!(path("vm.swappiness"), None);
    }

    #[test]
    fn interface_names_are_found_whole() {
        assert!(names_interface("net.ipv4.conf.eth0.rp_filter", "eth0"));
        assert!(names_interface("net.ipv4.conf.eth0/10.rp_filter", "eth0.10"));
        assert!(!names_interface("net.ipv4.conf.eth01.rp_filter", "eth0"));
    }
}
