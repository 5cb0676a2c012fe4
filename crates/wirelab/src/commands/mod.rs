//! One file a command.

pub(crate) mod ladder;
pub(crate) mod list;
pub(crate) mod run;
mod save;
