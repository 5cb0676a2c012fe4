//! What a run can be told: `--name=value` in a script or on the command line, and the addresses that follow from it.

use core::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use stack::call::Domain;

use crate::ast::Usecs;
use crate::lex::Token;

/// `SYMBOL=value`: the symbol is replaced wherever a word can stand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Define {
    /// The symbol.
    pub name: String,
    /// A number, a word, `"text"` or `` `shell command` ``.
    pub value: String,
}

impl Define {
    /// From `SYMBOL=value`.
    pub fn parse(text: &str) -> Option<Define> {
        let (name, value) = text.split_once('=')?;
        let named = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        named.then(|| Define { name: name.to_owned(), value: value.to_owned() })
    }

    /// What stands in the symbol's place.
    pub(crate) fn token(&self) -> Token {
        let inside = |quote: char| {
            self.value.strip_prefix(quote).map(|v| v.strip_suffix(quote).unwrap_or(v).to_owned())
        };
        if let Some(text) = inside('"') {
            return Token::Text(text);
        }
        if let Some(text) = inside('`') {
            return Token::Shell(text);
        }
        let number = match self.value.strip_prefix("0x") {
            Some(hex) => i64::from_str_radix(hex, 16).ok(),
            None => self.value.parse().ok(),
        };
        match number {
            Some(n) => Token::Int(n, self.value.clone()),
            None => Token::Word(self.value.clone()),
        }
    }
}

/// Which kinds of address a script runs with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum IpVersion {
    /// `ipv4`
    #[default]
    V4,
    /// `ipv4-mapped-ipv6`: an IPv6 socket, IPv4 packets.
    V4Mapped,
    /// `ipv6`
    V6,
}

/// Everything that a run can be told, with packetdrill's names and defaults.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// `--ip_version`
    pub ip_version: IpVersion,
    /// `--bind_port`: 8080
    pub bind_port: u16,
    /// `--connect_port`: 8080
    pub connect_port: u16,
    /// `--local_ip`
    pub local_ip: Option<IpAddr>,
    /// `--remote_ip`
    pub remote_ip: Option<IpAddr>,
    /// `--gateway_ip`
    pub gateway_ip: Option<IpAddr>,
    /// `--netmask_ip`
    pub netmask_ip: Option<Ipv4Addr>,
    /// `--mtu` of the TUN device: 1500
    pub mtu: u32,
    /// `--mss`: GSO size of injected segments; accepted and without effect, as the scripts inject single segments.
    pub mss: u16,
    /// `--tolerance_usecs`: 4000
    pub tolerance_usecs: Usecs,
    /// `--tolerance_percent` in thousandths of a per cent: 12 500
    pub tolerance_millipercent: i64,
    /// `--tcp_ts_tick_usecs`: how long one tick of TSval is; 0 leaves TSval unchecked.
    pub ts_tick_usecs: Usecs,
    /// `--tcp_ts_ecr_scaled`: an inbound TSecr need not be a TSval that was seen.
    pub ts_ecr_scaled: bool,
    /// `--strict_segments`: one packet of the script is one segment.
    pub strict_segments: bool,
    /// `--non_fatal=packet`
    pub non_fatal_packet: bool,
    /// `--non_fatal=syscall`
    pub non_fatal_syscall: bool,
    /// `--observe` (ours alone): nothing is expected. Packets are noted as they come, calls with what they gave, and after
    /// each event the connection's `TCP_INFO`: one script shows what two kernels do.
    pub observe: bool,
    /// `--is_anyip`
    pub is_anyip: bool,
    /// `--dry_run`: parse only.
    pub dry_run: bool,
    /// `--verbose`: keep every packet and call for the report.
    pub verbose: bool,
    /// `--code_sockopt`: `TCP_INFO`, `TCP_CC_INFO` or `SO_MEMINFO` alone; all three when empty.
    pub code_sockopt: String,
    /// `--init_scripts`: shell scripts before the script's own commands.
    pub init_scripts: Vec<String>,
    /// `--define`
    pub defines: Vec<Define>,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            ip_version: IpVersion::V4,
            bind_port: 8080,
            connect_port: 8080,
            local_ip: None,
            remote_ip: None,
            gateway_ip: None,
            netmask_ip: None,
            mtu: 1500,
            mss: 0,
            tolerance_usecs: 4000,
            tolerance_millipercent: 12_500,
            ts_tick_usecs: 0,
            ts_ecr_scaled: false,
            strict_segments: false,
            non_fatal_packet: false,
            non_fatal_syscall: false,
            observe: false,
            is_anyip: false,
            dry_run: false,
            verbose: false,
            code_sockopt: String::new(),
            init_scripts: Vec::new(),
            defines: Vec::new(),
        }
    }
}

/// Why an option cannot be had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OptionError {
    /// There is none of this name.
    Unknown(String),
    /// packetdrill has it; here it makes no sense or is not modelled.
    Unsupported(String),
    /// The value does not fit.
    BadValue(String),
}

impl fmt::Display for OptionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            OptionError::Unknown(name) => write!(f, "unknown option --{name}"),
            OptionError::Unsupported(name) => write!(f, "option --{name} is not supported"),
            OptionError::BadValue(text) => f.write_str(text),
        }
    }
}

impl core::error::Error for OptionError {}

/// Decimal per cent as thousandths.
fn millipercent(text: &str) -> Option<i64> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let mut padded: String = fraction.chars().take(3).collect();
    while padded.len() < 3 {
        padded.push('0');
    }
    let n = whole.parse::<i64>().ok()?.checked_mul(1000)?.checked_add(padded.parse().ok()?)?;
    (0..=100_000).contains(&n).then_some(n)
}

impl Config {
    /// Sets one option, as `--name=value` would.
    pub fn set(&mut self, name: &str, value: Option<&str>) -> Result<(), OptionError> {
        let bad = || OptionError::BadValue(format!("bad --{name}: {}", value.unwrap_or("no value")));
        let text = value.unwrap_or_default();
        fn parsed<T: core::str::FromStr>(
            text: &str,
            bad: impl Fn() -> OptionError,
        ) -> Result<T, OptionError> {
            text.parse().map_err(|_| bad())
        }
        // `192.0.2.1/24`: the length matters to a kernel's route only.
        let address = || parsed::<IpAddr>(text.split('/').next().unwrap_or_default(), bad);
        match name {
            "ip_version" => {
                self.ip_version = match text {
                    "ipv4" => IpVersion::V4,
                    "ipv4-mapped-ipv6" => IpVersion::V4Mapped,
                    "ipv6" => IpVersion::V6,
                    _ => return Err(bad()),
                }
            }
            "bind_port" => self.bind_port = parsed(text, bad)?,
            "connect_port" => self.connect_port = parsed(text, bad)?,
            "local_ip" => self.local_ip = Some(address()?),
            "remote_ip" => self.remote_ip = Some(address()?),
            "gateway_ip" => self.gateway_ip = Some(address()?),
            "netmask_ip" => self.netmask_ip = Some(parsed(text, bad)?),
            "mtu" => self.mtu = parsed(text, bad)?,
            "mss" => self.mss = parsed(text, bad)?,
            "tolerance_usecs" => {
                self.tolerance_usecs = parsed(text, bad)?;
                if self.tolerance_usecs <= 0 {
                    return Err(bad());
                }
            }
            "tolerance_percent" => self.tolerance_millipercent = millipercent(text).ok_or_else(bad)?,
            "tcp_ts_tick_usecs" => {
                self.ts_tick_usecs = parsed(text, bad)?;
                if !(0..=1_000_000).contains(&self.ts_tick_usecs) {
                    return Err(bad());
                }
            }
            "tcp_ts_ecr_scaled" => self.ts_ecr_scaled = true,
            "strict_segments" => self.strict_segments = true,
            "non_fatal" => {
                for word in text.split([',', ' ']).filter(|w| !w.is_empty()) {
                    match word {
                        "packet" => self.non_fatal_packet = true,
                        "syscall" => self.non_fatal_syscall = true,
                        _ => return Err(bad()),
                    }
                }
            }
            "is_anyip" => self.is_anyip = true,
            "observe" => {
                self.observe = true;
                self.non_fatal_packet = true;
                self.non_fatal_syscall = true;
            }
            "dry_run" => self.dry_run = true,
            "verbose" | "debug" => self.verbose = true,
            "code_sockopt" => {
                if !["", "TCP_INFO", "TCP_CC_INFO", "SO_MEMINFO"].contains(&text) {
                    return Err(bad());
                }
                text.clone_into(&mut self.code_sockopt);
            }
            "init_scripts" => self.init_scripts.push(text.to_owned()),
            "define" | "D" => self.defines.push(Define::parse(text).ok_or_else(bad)?),
            // Of a real device, of Python, and of when a buffer's memory is freed: nothing here can differ.
            "speed" | "code_command" | "code_format" | "send_omit_free" => {}
            "wire_client" | "wire_server" | "wire_server_ip" | "wire_server_at" | "wire_server_port"
            | "wire_client_dev" | "wire_server_dev" | "so_filename" | "so_flags" | "psp_udp_port" => {
                return Err(OptionError::Unsupported(name.to_owned()));
            }
            _ => return Err(OptionError::Unknown(name.to_owned())),
        }
        Ok(())
    }

    /// The addresses of a run: those said, else packetdrill's defaults.
    pub fn addresses(&self) -> Addresses {
        let v6 = self.ip_version == IpVersion::V6;
        let pick = |said: Option<IpAddr>, v4: Ipv4Addr, v6_default: Ipv6Addr| {
            said.filter(|a| a.is_ipv6() == v6).unwrap_or(if v6 { v6_default.into() } else { v4.into() })
        };
        let local = pick(
            self.local_ip,
            Ipv4Addr::new(192, 168, 146, 35),
            Ipv6Addr::new(0xfd3d, 0xfa7b, 0xd17d, 0, 0x1c2e, 0x3f40, 0x5162, 0x7384),
        );
        let gateway = pick(
            self.gateway_ip,
            Ipv4Addr::new(192, 168, 0, 1),
            Ipv6Addr::new(0xfd3d, 0xfa7b, 0xd17d, 0x8888, 0, 0, 0, 0),
        );
        let remote =
            pick(self.remote_ip, Ipv4Addr::new(192, 0, 2, 1), Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1));
        let netmask = self.netmask_ip.unwrap_or(Ipv4Addr::new(255, 255, 0, 0));
        let prefix_len = if v6 { 48 } else { u8::try_from(netmask.to_bits().leading_ones()).unwrap_or(32) };
        Addresses { local, remote, gateway, prefix_len, mapped: self.ip_version == IpVersion::V4Mapped }
    }

    /// The domain of `socket(..., …)`.
    pub fn domain(&self) -> Domain {
        if self.ip_version == IpVersion::V4 { Domain::Inet } else { Domain::Inet6 }
    }

    /// How far an event may be off that is expected `delta` after the one before.
    pub fn tolerance(&self, delta: Usecs) -> Usecs {
        self.tolerance_usecs.max(delta.saturating_mul(self.tolerance_millipercent) / 100_000)
    }
}

/// Who talks to whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Addresses {
    /// The host under test.
    pub local: IpAddr,
    /// The peer that the script plays.
    pub remote: IpAddr,
    /// The way to it.
    pub gateway: IpAddr,
    /// Of the local network.
    pub prefix_len: u8,
    /// Programs see `::ffff:a.b.c.d`.
    pub mapped: bool,
}

impl Addresses {
    /// An address as a program of the run names it.
    pub fn for_program(&self, ip: IpAddr, port: u16) -> SocketAddr {
        match ip {
            IpAddr::V4(v4) if self.mapped => SocketAddr::new(v4.to_ipv6_mapped().into(), port),
            other => SocketAddr::new(other, port),
        }
    }
}
