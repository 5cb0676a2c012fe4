//! What `--so_flags` says about the host: packetdrill's own options, and those of our stack, parted by commas.
//!
//! packetdrill tells a plug-in nothing of its configuration. `wirelab drill --referee` passes on what matters; by hand
//! they are needed wherever a script or its variant does not use IPv4 with packetdrill's default addresses.

use drill::config::Config;
use drill::host::StackHost;
use stack::{Granularity, KernelProfile};

/// The host under test.
#[derive(Clone, Debug)]
pub(crate) struct Flags {
    /// `ip_version`, `local_ip`, `gateway_ip`, `remote_ip`, `mtu` …
    pub(crate) config: Config,
    /// `hz` (0: exact timers), `kernel`, `seed`
    pub(crate) host: StackHost,
}

impl Flags {
    /// Reads `key=value,key=value`; the error names the word that is not understood.
    pub(crate) fn parse(text: &str) -> Result<Flags, String> {
        let mut flags = Flags { config: Config::default(), host: StackHost::default() };
        for word in text.split(',').filter(|w| !w.is_empty()) {
            let (key, value) = word.split_once('=').unwrap_or((word, ""));
            if flags.set(key, value).is_none() {
                flags.config.set(key, Some(value)).map_err(|e| format!("--so_flags: {e}"))?;
            }
        }
        Ok(flags)
    }

    /// Sets what packetdrill has no option for.
    fn set(&mut self, key: &str, value: &str) -> Option<()> {
        match (key, value) {
            ("hz", "0") => self.host.granularity = Granularity::Ideal,
            ("hz", hz) => self.host.granularity = Granularity::Wheel { hz: hz.parse().ok()? },
            ("seed", seed) => self.host.seed = seed.parse().ok()?,
            ("kernel", "4.4") => self.host.profile = KernelProfile::V4_4,
            ("kernel", "5.15") => self.host.profile = KernelProfile::V5_15,
            ("kernel", "6.12") => self.host.profile = KernelProfile::V6_12,
            ("kernel", "6.18") => self.host.profile = KernelProfile::V6_18,
            _ => return None,
        }
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_packetdrills_options_and_the_stacks() {
        let flags =
            Flags::parse("ip_version=ipv6,mtu=1520,remote_ip=2001:db8::7,hz=250,kernel=6.12").unwrap();
        assert_eq!(flags.config.addresses().remote, "2001:db8::7".parse::<std::net::IpAddr>().unwrap());
        assert_eq!((flags.config.mtu, flags.host.granularity), (1520, Granularity::Wheel { hz: 250 }));
        assert_eq!(flags.host.profile, KernelProfile::V6_12);
        assert_eq!(Flags::parse("").unwrap().config, Config::default());
    }

    #[test]
    fn a_wrong_flag_is_named() {
        assert_eq!(Flags::parse("mtu=x").unwrap_err(), "--so_flags: bad --mtu: x");
        assert_eq!(Flags::parse("kernel=2.6").unwrap_err(), "--so_flags: unknown option --kernel");
    }
}
