//! Whether this process may make hosts on the real kernel, and what to do when it may not.

use crate::agent_handle::Agent;
use crate::error::{LinuxError, NoPermission};
use crate::protocol::WantIface;
use crate::sys;

/// Tries all that a run needs, in namespaces that are gone again when this returns: the namespaces, a TAP
/// interface in them, and iproute2.
///
/// # Errors
/// What is missing, how to get it, and that `--on stack` needs none of it.
pub fn check_permission() -> Result<(), NoPermission> {
    match try_everything() {
        Ok(()) => Ok(()),
        Err(LinuxError::Permission(p)) => Err(p),
        Err(LinuxError::Setup { what, hint, .. }) => {
            Err(NoPermission { missing: what, hint: hint.unwrap_or_else(|| "see the error above".into()) })
        }
        Err(other) => Err(NoPermission { missing: other.to_string(), hint: "run as root".into() }),
    }
}

/// Moves this process into a network namespace of its own, and without root into a user namespace that lets it make more:
/// what [`crate::tun::TunHost`] and [`crate::Netns`] need. Call it before any thread starts.
///
/// # Errors
/// What is missing, how to get it, and that our own stack needs none of it.
pub fn enter_own_network() -> Result<(), NoPermission> {
    crate::agent::namespace::enter_network().map_err(|failure| {
        match explain("", &failure.what, failure.errno) {
            LinuxError::Permission(p) => p,
            other => NoPermission { missing: other.to_string(), hint: "run as root".into() },
        }
    })
}

fn try_everything() -> Result<(), LinuxError> {
    let mut agent = Agent::start("permission check")?;
    let tap = WantIface { name: "eth0".into(), ifindex: 2, mac: Some([2, 0, 0, 0, 0, 1]), mtu: 1500 };
    agent.begin_setup(&[], &[tap])?;
    let _namespace = agent.finish_setup()?;
    agent.run(&["ip".into(), "-V".into()], &[])?.map(drop).map_err(|stderr| LinuxError::Setup {
        host: "permission check".into(),
        what: format!("`ip -V` failed: {}", stderr.trim()),
        hint: Some("install iproute2".into()),
    })
}

/// Turns what an agent could not do into an error that says what to do.
pub(crate) fn explain(host: &str, what: &str, errno: i32) -> LinuxError {
    let reason = stack::Errno(u16::try_from(errno).unwrap_or(0));
    let missing = format!("{what}: {reason} ({})", reason.text());
    let permission = |hint: String| LinuxError::Permission(NoPermission { missing: missing.clone(), hint });
    if what.starts_with("unshare") || what.contains("/proc/self/") {
        return permission(namespace_hint(errno));
    }
    if what.contains("/dev/net/tun") || what.contains("TUNSETIFF") {
        return permission(tun_hint(errno));
    }
    let hint = match what.strip_prefix("sysctl ") {
        Some(setting) => Some(sysctl_hint(setting, errno)),
        None if errno == libc::ENOENT => Some(missing_tool(what)),
        None => None,
    };
    LinuxError::Setup { host: host.to_owned(), what: missing, hint }
}

fn namespace_hint(errno: i32) -> String {
    let knob = |name: &str| std::fs::read_to_string(format!("/proc/sys/{name}")).unwrap_or_default();
    if errno == libc::ENOSPC {
        return "raise user.max_user_namespaces and user.max_net_namespaces".into();
    }
    if sys::is_root() {
        return "this root lacks CAP_SYS_ADMIN (a container?): give it CAP_SYS_ADMIN and CAP_NET_ADMIN \
                (docker run --privileged)"
            .into();
    }
    if knob("kernel/unprivileged_userns_clone").trim() == "0" {
        return "run as root, or allow user namespaces: sysctl -w kernel.unprivileged_userns_clone=1".into();
    }
    if knob("kernel/apparmor_restrict_unprivileged_userns").trim() == "1" {
        return "run as root, or allow user namespaces: \
                sysctl -w kernel.apparmor_restrict_unprivileged_userns=0"
            .into();
    }
    "run as root, or where unprivileged user namespaces are allowed".into()
}

fn tun_hint(errno: i32) -> String {
    match errno {
        libc::ENOENT => {
            "the tun module is missing: modprobe tun (in a container: --device /dev/net/tun)".into()
        }
        libc::ENODEV | libc::ENXIO => "this kernel has no tun driver: modprobe tun".into(),
        libc::EACCES => {
            use std::os::unix::fs::PermissionsExt;
            let mode = std::fs::metadata("/dev/net/tun").map_or(0, |m| m.permissions().mode() & 0o7777);
            format!(
                "/dev/net/tun has mode {mode:04o}: run as root, or chmod 0666 /dev/net/tun (udev's default)"
            )
        }
        _ => "run as root, with CAP_NET_ADMIN (in a container: --cap-add NET_ADMIN --device /dev/net/tun)"
            .into(),
    }
}

/// Why a sysctl could not be written in a namespace.
fn sysctl_hint(setting: &str, errno: i32) -> String {
    let (name, value) =
        setting.split_once('=').unwrap_or((setting.trim_end_matches(": not per namespace"), ""));
    let file = crate::agent::sysctl::path(name).unwrap_or_default();
    match errno {
        libc::EPERM if name == "net.ipv4.tcp_congestion_control" => format!(
            "a namespace may only use what the host allows: \
             sysctl -w net.ipv4.tcp_allowed_congestion_control=\"{} {value}\"",
            std::fs::read_to_string("/proc/sys/net/ipv4/tcp_allowed_congestion_control")
                .unwrap_or_default()
                .trim()
        ),
        libc::ENOENT if name == "net.ipv4.tcp_congestion_control" => {
            format!("no such module: modprobe tcp_{value}")
        }
        libc::ENOENT if std::path::Path::new(&file).exists() => {
            format!(
                "{name} is not per namespace: it belongs to the whole machine and cannot differ between hosts"
            )
        }
        libc::ENOENT => format!("this kernel has no sysctl {name}"),
        libc::EPERM | libc::EACCES => {
            format!(
                "{name} is not per namespace: it belongs to the whole machine and cannot be set for one host"
            )
        }
        libc::EINVAL | libc::ERANGE => format!("the kernel does not take {value:?} for {name}"),
        _ => format!("sysctl {name} cannot be set in a namespace"),
    }
}

fn missing_tool(what: &str) -> String {
    let package = match what {
        "ip" | "ss" => "iproute2",
        "ping" => "iputils-ping",
        "arping" => "iputils-arping",
        "traceroute" => "traceroute",
        "socat" => "socat",
        "ra" => {
            return "router advertisements are a daemon's job (radvd), not the kernel's: keep that router on our \
                    stack, as `--on client=linux,router=stack`"
                .into();
        }
        other => return format!("{other} is not installed"),
    };
    format!("{what} is not installed: apt install {package} (or your system's package of that name)")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_name_the_thing_and_the_way_out() {
        let text = explain("server", "sysctl kernel.hostname: not per namespace", libc::EPERM).to_string();
        assert!(text.contains("kernel.hostname is not per namespace"), "{text}");
        let text = explain("server", "open /dev/net/tun", libc::EACCES).to_string();
        assert!(text.contains("/dev/net/tun") && text.contains("--on stack"), "{text}");
        let text = explain("server", "ip", libc::ENOENT).to_string();
        assert!(text.contains("apt install iproute2"), "{text}");
        let text = explain("server", "sysctl net.ipv4.no_such_thing=1", libc::ENOENT).to_string();
        assert!(text.contains("no sysctl net.ipv4.no_such_thing"), "{text}");
    }
}
