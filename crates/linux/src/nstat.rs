//! Counters of a namespace under the names that `nstat` prints. Linux: net/ipv4/proc.c, net/ipv6/proc.c.

use std::collections::BTreeMap;

/// What `nstat` leaves out because it is a setting or a gauge, not a counter.
const NOT_COUNTERS: &[&str] = &[
    "IpForwarding",
    "IpDefaultTTL",
    "TcpRtoAlgorithm",
    "TcpRtoMin",
    "TcpRtoMax",
    "TcpMaxConn",
    "TcpCurrEstab",
];

/// Adds the counters of one file (`/proc/net/snmp`, `netstat` or `snmp6`).
///
/// `snmp` and `netstat` come as pairs of lines, names then values, both with the group in front; `snmp6` has a
/// name and a value on each line.
pub(crate) fn parse(text: &str, counters: &mut BTreeMap<String, u64>) {
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if let Some((group, names)) = line.split_once(':') {
            let Some((_, values)) = lines.next().and_then(|l| l.split_once(':')) else { return };
            for (name, value) in names.split_whitespace().zip(values.split_whitespace()) {
                insert(format!("{group}{name}"), value, counters);
            }
        } else if let Some((name, value)) = line.split_once(char::is_whitespace) {
            insert(name.to_owned(), value, counters);
        }
    }
}

/// Values that are not natural numbers (`TcpMaxConn` is -1) are no counters.
fn insert(name: String, value: &str, counters: &mut BTreeMap<String, u64>) {
    if let Ok(value) = value.trim().parse()
        && !NOT_COUNTERS.contains(&name.as_str())
    {
        counters.insert(name, value);
    }
}

/// What was counted between two readings, without zeros.
pub(crate) fn difference(
    before: &BTreeMap<String, u64>,
    after: &BTreeMap<String, u64>,
) -> Vec<(String, u64)> {
    after
        .iter()
        .map(|(name, value)| (name.clone(), value.saturating_sub(before.get(name).copied().unwrap_or(0))))
        .filter(|(_, value)| *value != 0)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_nstat() {
        let mut counters = BTreeMap::new();
        parse("Ip: Forwarding DefaultTTL InReceives\nIp: 1 64 7\nTcp: MaxConn\nTcp: -1\n", &mut counters);
        parse("IpExt: InNoRoutes InOctets\nIpExt: 0 600\n", &mut counters);
        parse("Ip6InReceives                   \t3\nIcmp6OutType135\t1\n", &mut counters);
        let names: Vec<&str> = counters.keys().map(String::as_str).collect();
        assert_eq!(
            names,
            ["Icmp6OutType135", "Ip6InReceives", "IpExtInNoRoutes", "IpExtInOctets", "IpInReceives"]
        );
        let before = BTreeMap::from([("IpInReceives".to_owned(), 5), ("IpExtInOctets".to_owned(), 600)]);
        assert_eq!(
            difference(&before, &counters),
            [
                ("Icmp6OutType135".to_owned(), 1),
                ("Ip6InReceives".to_owned(), 3),
                ("IpInReceives".to_owned(), 2)
            ]
        );
    }
}
