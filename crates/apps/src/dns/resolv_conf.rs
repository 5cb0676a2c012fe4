//! `/etc/resolv.conf` and `/etc/hosts` as glibc reads them (resolv/res_init.c res_vinit_1(), res_setoptions();
//! nss/nss_files/files-hosts.c). glibc skips what it does not understand; here each such line is also told.

use core::time::Duration;
use std::net::{IpAddr, Ipv4Addr};

/// Servers that are used; the others of a file are not (`MAXNS`).
const SERVERS: usize = 3;
/// Lines of a hosts file at most.
const HOSTS: usize = 100_000;

/// `resolv.conf`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResolvConf {
    /// `nameserver`, three at most; 127.0.0.1 when there is none.
    pub nameservers: Vec<IpAddr>,
    /// `search` or `domain`.
    pub search: Vec<String>,
    /// `options ndots:n`: names with so many dots are tried as they are first. 1 unless given, 15 at most.
    pub ndots: usize,
    /// `options timeout:n`: what the first server gets; 5 s unless given, 30 s at most.
    pub timeout: Duration,
    /// `options attempts:n`: rounds over the servers; 2 unless given, 5 at most.
    pub attempts: u32,
    /// `options rotate`: questions begin with different servers.
    pub rotate: bool,
    /// `options use-vc`: TCP always.
    pub use_vc: bool,
    /// `options edns0`: larger replies over UDP.
    pub edns0: bool,
    /// `options single-request`: A first, then AAAA.
    pub single_request: bool,
    /// `options single-request-reopen`: and from another port.
    pub single_request_reopen: bool,
}

impl Default for ResolvConf {
    fn default() -> Self {
        ResolvConf {
            nameservers: vec![IpAddr::V4(Ipv4Addr::LOCALHOST)],
            search: Vec::new(),
            ndots: 1,
            timeout: Duration::from_secs(5),
            attempts: 2,
            rotate: false,
            use_vc: false,
            edns0: false,
            single_request: false,
            single_request_reopen: false,
        }
    }
}

/// A line that means nothing: its index, and why.
pub type BadLine = (usize, String);

impl ResolvConf {
    /// Reads the lines of a file.
    pub fn parse<'a>(lines: impl IntoIterator<Item = &'a str>) -> (ResolvConf, Vec<BadLine>) {
        let mut conf = ResolvConf { nameservers: Vec::new(), ..ResolvConf::default() };
        let mut bad = Vec::new();
        for (at, line) in lines.into_iter().enumerate() {
            let line = line.split(['#', ';']).next().unwrap_or_default();
            let mut words = line.split_ascii_whitespace();
            let Some(key) = words.next() else { continue };
            if let Err(why) = conf.line(key, words) {
                bad.push((at, why));
            }
        }
        if conf.nameservers.is_empty() {
            conf.nameservers = ResolvConf::default().nameservers;
        }
        (conf, bad)
    }

    fn line<'a>(&mut self, key: &str, mut words: impl Iterator<Item = &'a str>) -> Result<(), String> {
        match key {
            "nameserver" => {
                let word = words.next().ok_or("`nameserver` needs an address")?;
                let ip = word.parse().map_err(|_| format!("`{word}` is no IP address"))?;
                if self.nameservers.len() == SERVERS {
                    return Err(format!("glibc uses {SERVERS} name servers; this is one more"));
                }
                self.nameservers.push(ip);
                Ok(())
            }
            "search" => {
                self.search = words.map(String::from).collect();
                Ok(())
            }
            "domain" => {
                self.search = words.take(1).map(String::from).collect();
                Ok(())
            }
            "options" => words.try_for_each(|word| self.option(word)),
            other => Err(format!("`{other}` is none of nameserver, search, domain, options")),
        }
    }

    fn option(&mut self, word: &str) -> Result<(), String> {
        let (name, value) = word.split_once(':').unwrap_or((word, ""));
        let number = |most: u32| {
            let n: u32 = value.parse().map_err(|_| format!("`{word}`: a number must follow `{name}:`"))?;
            Ok::<u32, String>(n.min(most))
        };
        match name {
            "ndots" => self.ndots = usize::try_from(number(15)?).expect("15 at most"),
            "timeout" => self.timeout = Duration::from_secs(number(30)?.max(1).into()),
            "attempts" => self.attempts = number(5)?.max(1),
            "rotate" => self.rotate = true,
            "use-vc" => self.use_vc = true,
            "edns0" => self.edns0 = true,
            "single-request" => self.single_request = true,
            "single-request-reopen" => self.single_request_reopen = true,
            // Without DNSSEC there is nothing to trust.
            "trust-ad" => {}
            other => return Err(format!("the option `{other}` is not modelled")),
        }
        Ok(())
    }
}

/// `hosts`: addresses with their names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostsFile(Vec<(IpAddr, Vec<String>)>);

impl HostsFile {
    /// Reads the lines of a file.
    pub fn parse<'a>(lines: impl IntoIterator<Item = &'a str>) -> (HostsFile, Vec<BadLine>) {
        let mut hosts = HostsFile::default();
        let mut bad = Vec::new();
        for (at, line) in lines.into_iter().take(HOSTS).enumerate() {
            let mut words = line.split('#').next().unwrap_or_default().split_ascii_whitespace();
            let Some(address) = words.next() else { continue };
            let names: Vec<String> = words.map(str::to_ascii_lowercase).collect();
            match address.parse() {
                Err(_) => bad.push((at, format!("`{address}` is no IP address"))),
                Ok(_) if names.is_empty() => bad.push((at, format!("{address} has no name"))),
                Ok(ip) => hosts.0.push((ip, names)),
            }
        }
        (hosts, bad)
    }

    /// The addresses of a name, in the order of the file.
    pub fn find(&self, name: &str) -> Vec<IpAddr> {
        let name = name.strip_suffix('.').unwrap_or(name);
        let named = self.0.iter().filter(|(_, names)| names.iter().any(|own| own.eq_ignore_ascii_case(name)));
        named.map(|(ip, _)| *ip).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_as_glibc_reads_it() {
        let text = "# comment\nnameserver 192.0.2.53\nnameserver 2001:db8::53\nsearch example corp.example ; why not\n\
                    options ndots:3 timeout:1 attempts:9 rotate edns0 single-request\n";
        let (conf, bad) = ResolvConf::parse(text.lines());
        assert_eq!(bad, []);
        assert_eq!(conf.nameservers, ["192.0.2.53", "2001:db8::53"].map(|ip| ip.parse::<IpAddr>().unwrap()));
        assert_eq!(conf.search, ["example", "corp.example"]);
        assert_eq!((conf.ndots, conf.timeout, conf.attempts), (3, Duration::from_secs(1), 5));
        assert!(conf.rotate && conf.edns0 && conf.single_request && !conf.use_vc);
        assert_eq!(ResolvConf::parse([]).0, ResolvConf::default());
    }

    #[test]
    fn lines_without_meaning_are_told_with_their_place() {
        let lines = ["nameserver 192.0.2.300", "server 1", "options timeout:x", "options debug"];
        let expected = [
            (0, "`192.0.2.300` is no IP address"),
            (1, "`server` is none of nameserver, search, domain, options"),
            (2, "`timeout:x`: a number must follow `timeout:`"),
            (3, "the option `debug` is not modelled"),
        ];
        assert_eq!(ResolvConf::parse(lines).1, expected.map(|(at, why)| (at, why.to_string())));
        let four = ["nameserver 192.0.2.1"; 4];
        assert_eq!(
            ResolvConf::parse(four).1,
            [(3, "glibc uses 3 name servers; this is one more".to_string())]
        );
        assert_eq!(HostsFile::parse(["x y", "192.0.2.1"]).1.len(), 2);
    }

    #[test]
    fn a_name_can_have_several_addresses_and_an_address_several_names() {
        let (hosts, bad) =
            HostsFile::parse(["192.0.2.80 www.example www # ours", "2001:db8::80 WWW.example"]);
        assert_eq!(bad, []);
        assert_eq!(hosts.find("www.Example.").len(), 2);
        assert_eq!(hosts.find("www").len(), 1);
        assert!(hosts.find("ww").is_empty());
    }
}
