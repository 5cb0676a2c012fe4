//! What `--so_flags` says about the host: the words of packetdrill's own options, parted by commas.
//!
//! packetdrill tells a plug-in nothing of its configuration. `wirelab drill --referee` passes on what matters; by hand
//! they are needed wherever a script or its variant does not use IPv4 with packetdrill's default addresses.

use std::net::IpAddr;

use stack::{Granularity, KernelProfile};

/// The host under test.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Flags {
    /// `local_ip`
    pub(crate) local_ip: IpAddr,
    /// It was said.
    pub(crate) is_local_said: bool,
    /// Its prefix: `prefix_len`, else 16 for IPv4 and 64 for IPv6.
    pub(crate) prefix_len: u8,
    /// `gateway_ip`
    pub(crate) gateway_ip: IpAddr,
    /// `remote_ip`, with the prefix that is routed: as written, else the whole address.
    pub(crate) remote: (IpAddr, u8),
    /// `mtu`
    pub(crate) mtu: u32,
    /// `granularity`: `ideal`, or `CONFIG_HZ`.
    pub(crate) granularity: Granularity,
    /// `profile`: `4.4`, `5.15`, `6.12` or `6.18`.
    pub(crate) profile: KernelProfile,
    /// `seed`
    pub(crate) seed: u64,
}

impl Flags {
    /// Reads `key=value,key=value`; the error names the word that is not understood.
    pub(crate) fn parse(text: &str) -> Result<Flags, String> {
        let words: Vec<(&str, &str)> =
            text.split(',').filter(|w| !w.is_empty()).map(|w| w.split_once('=').unwrap_or((w, ""))).collect();
        let is_v6 = words.contains(&("ip_version", "ipv6"));
        let mut flags = Flags::defaults(is_v6);
        for (key, value) in words {
            flags.set(key, value).ok_or_else(|| format!("--so_flags: {key}={value} is not understood"))?;
        }
        Ok(flags)
    }

    /// packetdrill's own defaults (config.c `set_ipv4_defaults`, `set_ipv6_defaults`).
    fn defaults(is_v6: bool) -> Flags {
        let ip = |text: &str| text.parse().expect("written here");
        let (local, prefix_len, gateway, remote, remote_len) = if is_v6 {
            ("fd3d:fa7b:d17d::0", 48, "fd3d:fa7b:d17d:8888::0", "2001:db8::1", 32)
        } else {
            ("192.168.0.1", 16, "192.168.0.2", "192.0.2.1", 24)
        };
        Flags {
            local_ip: ip(local),
            is_local_said: false,
            prefix_len,
            gateway_ip: ip(gateway),
            remote: (ip(remote), remote_len),
            mtu: 1500,
            granularity: Granularity::Wheel { hz: 1000 },
            profile: KernelProfile::default(),
            seed: 0,
        }
    }

    fn set(&mut self, key: &str, value: &str) -> Option<()> {
        match key {
            "ip_version" => return matches!(value, "ipv4" | "ipv6" | "ipv4-mapped-ipv6").then_some(()),
            "local_ip" => {
                self.local_ip = value.parse().ok()?;
                self.is_local_said = true;
            }
            "prefix_len" => self.prefix_len = value.parse().ok()?,
            "gateway_ip" => self.gateway_ip = value.parse().ok()?,
            "remote_ip" => {
                let (ip, len) = value.split_once('/').unwrap_or((value, ""));
                let ip: IpAddr = ip.parse().ok()?;
                let whole = if ip.is_ipv6() { 128 } else { 32 };
                self.remote = (ip, if len.is_empty() { whole } else { len.parse().ok()? });
            }
            "mtu" => self.mtu = value.parse().ok()?,
            "seed" => self.seed = value.parse().ok()?,
            "granularity" if value == "ideal" => self.granularity = Granularity::Ideal,
            "granularity" => self.granularity = Granularity::Wheel { hz: value.parse().ok()? },
            "profile" => {
                self.profile = match value {
                    "4.4" => KernelProfile::V4_4,
                    "5.15" => KernelProfile::V5_15,
                    "6.12" => KernelProfile::V6_12,
                    "6.18" => KernelProfile::V6_18,
                    _ => return None,
                }
            }
            _ => return None,
        }
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_packetdrills_own_options() {
        let flags = Flags::parse("ip_version=ipv6,mtu=1520,remote_ip=2001:db8::7,granularity=250").unwrap();
        assert_eq!(flags.remote, ("2001:db8::7".parse().unwrap(), 128));
        assert_eq!((flags.mtu, flags.granularity), (1520, Granularity::Wheel { hz: 250 }));
        assert!(flags.local_ip.is_ipv6());
        assert_eq!(Flags::parse("").unwrap().local_ip, "192.168.0.1".parse::<IpAddr>().unwrap());
    }

    #[test]
    fn a_wrong_flag_is_named() {
        assert_eq!(Flags::parse("mtu=x").unwrap_err(), "--so_flags: mtu=x is not understood");
        assert_eq!(Flags::parse("speed").unwrap_err(), "--so_flags: speed= is not understood");
    }
}
