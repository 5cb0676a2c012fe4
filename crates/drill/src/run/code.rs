//! Code blocks: the part of Python that scripts use, over `TCP_INFO`, `TCP_CC_INFO` and `SO_MEMINFO`.
//!
//! packetdrill runs all blocks in one Python process at the end; here each runs at its own time, with the same
//! variables carried on, so that a failing assertion names its line at once. Layout of the structures:
//! linux/tcp.h `tcp_info`, linux/inet_diag.h `tcp_cc_info`, `SK_MEMINFO_*` of linux/sock_diag.h.

mod eval;
mod info;

use std::collections::BTreeMap;

use stack::call::{Call, Fd, OptValue, Ret, SockOpt};

use super::{HappenedKind, Returned, Run, Step};
use crate::target::Answer;
use eval::CodeError;
pub(super) use eval::Value;

/// Variables of all blocks, and what a blocking call has given meanwhile.
#[derive(Debug, Default)]
pub(super) struct Code {
    pub(super) vars: BTreeMap<String, Value>,
    pub(super) returned: Returned,
}

impl Run<'_> {
    pub(super) fn run_code(&mut self, text: &str) -> Step {
        let Some(sock) = self.socks.under_test() else {
            return self.fail("runtime error in code: no socket to use for code");
        };
        let fd = sock.live_fd.unwrap_or(-1);
        self.collect_info(fd)?;
        let mut printed = String::new();
        let result = eval::run(text, &mut self.code.vars, &mut printed);
        let first = text.lines().map(str::trim).find(|l| !l.is_empty()).unwrap_or_default();
        self.note(HappenedKind::Code, format!("%{{ {first} }}%{}", printed.trim_end()));
        match result {
            Ok(()) => Ok(()),
            Err(CodeError::Failed(text)) => self.fail(format!("error in code: {text}")),
            Err(CodeError::Unsupported(text)) => self.unsupported(format!("code not understood: {text}")),
        }
    }

    /// Reads the structures into variables.
    pub(super) fn collect_info(&mut self, fd: Fd) -> Step {
        let only = self.config.code_sockopt.clone();
        let wants = |name: &str| only.is_empty() || only == name;
        if wants("TCP_INFO") {
            let bytes = self.info_option(fd, SockOpt::TCP_INFO, "TCP info")?;
            self.set_all(info::tcp_info(&bytes));
        }
        if wants("TCP_CC_INFO") {
            let bytes = self.info_option(fd, SockOpt::TCP_CC_INFO, "TCP_CC_INFO")?;
            let name = self.target.call(&Call::GetSockOpt { fd, opt: SockOpt::TCP_CONGESTION }.into());
            let name = match name {
                Answer::Done(Ok(Ret::Opt(OptValue::Text(name)))) => name,
                _ => String::new(),
            };
            self.set_all(info::cc_info(&name, &bytes));
        }
        if wants("SO_MEMINFO") {
            let bytes = self.info_option(fd, SockOpt::SO_MEMINFO, "sk_meminfo")?;
            self.set_all(info::meminfo(&bytes));
        }
        Ok(())
    }

    fn set_all(&mut self, vars: Vec<(&'static str, u64)>) {
        for (name, n) in vars {
            self.code.vars.insert(name.to_owned(), Value::Int(n.into()));
        }
    }

    fn info_option(&mut self, fd: Fd, opt: SockOpt, what: &str) -> Result<Vec<u8>, super::Stop> {
        match self.target.call(&Call::GetSockOpt { fd, opt }.into()) {
            Answer::Done(Ok(Ret::Opt(OptValue::Bytes(bytes)))) => Ok(bytes.to_vec()),
            Answer::Done(Ok(_)) => Ok(Vec::new()),
            Answer::Unsupported(text) => self.unsupported(format!("code: {text}")),
            _ => self.fail(format!("runtime error in code: can't find getsockopt to get {what}")),
        }
    }
}
