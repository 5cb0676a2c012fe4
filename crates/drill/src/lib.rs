//! packetdrill scripts: the language, a runner for it, and the hosts that it can be run on.
//!
//! ```text
//! script text ──▶ lex ──▶ parse ──▶ ast::Script ──▶ run ──▶ Target (our stack; a kernel behind a TUN device)
//!                                                    │
//!                                                    ▼
//!                                        Outcome ──▶ report: packetdrill's words, JSON, JUnit
//! ```
//!
//! The language is packetdrill's, written anew from its documentation, its grammar and its scripts
//! (packetdrill itself is GPL: nothing of it is here). Times are microseconds since the script's start.

pub mod ast;
pub mod config;
pub mod host;
pub mod kernel;
mod lex;
pub mod packet;
mod parse;
pub mod report;
mod run;
mod shell;
pub mod suite;
pub mod symbols;
pub mod target;

pub use parse::{ParseError, parse};
pub use run::{Fault, Happened, HappenedKind, Outcome, Verdict, run};
