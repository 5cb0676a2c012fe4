//! `curl`: the command with the options, messages and exit codes of curl 7.88.1, on top of the client. What it would write to
//! a file is dropped; standard output and standard error are the same lines here.
//!
//! Map: `options` reads the command line, `transfer` makes the requests, `write_out` is `-w`.

mod options;
mod transfer;
mod write_out;

use std::sync::Arc;

use crate::{App, AppFuture, CommandError, Cx, Env, Ready};

pub use options::Options;

/// Reads a command line.
///
/// # Errors
/// The word that is wrong.
pub fn read(words: &[String], env: &Env) -> Result<Ready, CommandError> {
    Options::parse(words, env).map(|options| Arc::new(options) as Ready)
}

impl App for Options {
    fn run(self: Arc<Self>, cx: Cx) -> AppFuture {
        Box::pin(async move { transfer::run(&self, &cx).await })
    }
}
