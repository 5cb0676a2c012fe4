//! What shell commands do to our stack.

use std::collections::BTreeMap;

use stack::admin::Admin;
use stack::sysctl::SysctlError;

use super::StackTarget;
use crate::shell::Machine;
use crate::target::ShellError;

fn failed<T>(text: impl ToString) -> Result<T, ShellError> {
    Err(ShellError::Failed(text.to_string()))
}

fn unknown<T>(text: impl ToString) -> Result<T, ShellError> {
    Err(ShellError::Unsupported(text.to_string()))
}

fn sysctl_error<T>(e: &SysctlError) -> Result<T, ShellError> {
    if matches!(e, SysctlError::NotModelled { .. }) { unknown(e) } else { failed(e) }
}

impl Machine for StackTarget {
    fn sysctl_read(&mut self, name: &str) -> Result<String, ShellError> {
        self.stack.sysctl_read(name).or_else(|e| sysctl_error(&e))
    }

    fn sysctl_write(&mut self, name: &str, value: &str) -> Result<(), ShellError> {
        self.stack.sysctl_write(self.now, name, value).or_else(|e| sysctl_error(&e))
    }

    fn ip(&mut self, text: &str) -> Result<(), ShellError> {
        match Admin::parse(text) {
            Err(e) => unknown(format!("{text}: {e}")),
            Ok(command) => self.stack.admin(self.now, &command).or_else(failed),
        }
    }

    fn flush_tcp_metrics(&mut self) {
        let flush = Admin::TcpMetricsFlush { remote: None };
        self.stack.admin(self.now, &flush).expect("it cannot fail");
    }

    fn qdisc(&mut self, kind: Option<&str>, limit: Option<u32>) -> Result<(), ShellError> {
        self.drops_all = limit == Some(0);
        self.stack.link_set_queue_full(self.ifindex, self.drops_all);
        match kind {
            None | Some("pfifo" | "pfifo_fast" | "bfifo" | "noqueue") => Ok(()),
            Some(other) => unknown(format!("the queue {other}")),
        }
    }

    fn offload(&mut self, feature: &str, _on: bool) -> Result<(), ShellError> {
        match feature {
            // Packets of the stack are never larger than the MTU on the wire.
            "tso" | "gso" | "gro" | "lro" | "tx" | "rx" | "sg" => Ok(()),
            other => unknown(format!("ethtool feature {other}")),
        }
    }

    fn counters(&mut self) -> Vec<(String, u64)> {
        self.stack.mib().non_zero().map(|(name, n)| (name.to_owned(), n)).collect()
    }

    fn proc_net_tcp(&mut self, v6: bool) -> Result<String, ShellError> {
        // State, local port: what scripts look for.
        let mut text = String::new();
        for line in self.stack.ss_tan(self.now).lines().skip(1) {
            let cells: Vec<&str> = line.split_whitespace().collect();
            let [state, _, _, local, ..] = cells.as_slice() else { continue };
            let port: u16 = local.rsplit(':').next().and_then(|p| p.parse().ok()).unwrap_or(0);
            let ipv6 = local.starts_with('[') || local.starts_with('*');
            let number = match *state {
                "ESTAB" => 1,
                "SYN-SENT" => 2,
                "SYN-RECV" => 3,
                "FIN-WAIT-1" => 4,
                "FIN-WAIT-2" => 5,
                "TIME-WAIT" => 6,
                "CLOSE-WAIT" => 8,
                "LAST-ACK" => 9,
                "LISTEN" => 10,
                "CLOSING" => 11,
                _ => 7,
            };
            if ipv6 == v6 {
                text.push_str(&format!("   0: {local}:{port:04X} {number:02X} \n"));
            }
        }
        Ok(text)
    }

    fn module_parameter(&mut self, name: &str, value: &str) -> Result<(), ShellError> {
        match (name, value) {
            // Both of HyStart's detectors: the default.
            ("tcp_cubic/parameters/hystart_detect", "3") => Ok(()),
            _ => unknown(format!("the module parameter {name}={value}")),
        }
    }

    fn files(&mut self) -> &mut BTreeMap<String, Vec<u8>> {
        &mut self.files.content
    }
}
