//! One file a command.

pub(crate) mod ask;
pub(crate) mod catalogue;
pub(crate) mod compare;
pub(crate) mod drill;
pub(crate) mod get;
mod input;
mod inside;
pub(crate) mod kernel;
pub(crate) mod ladder;
pub(crate) mod list;
mod referee;
pub(crate) mod replay;
pub(crate) mod run;
mod save;
pub(crate) mod score;
pub(crate) mod twin;
