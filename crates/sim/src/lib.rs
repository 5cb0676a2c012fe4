//! Worlds in virtual time: a clock, an event queue, links, switches, routers, NAT, faults, taps.
//!
//! A [`World`] holds hosts (each a [`stack::Stack`]), switches and external nodes, joins their interfaces by
//! links that speak `tc`'s words, runs programs written in system calls on the hosts, and writes down
//! what happened as a [`stack::record::Journal`]. One seed is one run, byte for byte.
//!
//! * topology: [`World::add_host`], [`World::add_switch`], [`World::add_external`], [`World::add_nic`],
//!   [`World::connect`], [`World::admin`], [`World::set_nat`]
//! * trouble: [`Impairment`], [`LinkState`], [`Fault`]
//! * work: [`Program`], [`World::spawn`]
//! * time: [`World::step`], [`World::run_until`], [`World::run`]; in real time [`World::advance_to`],
//!   [`World::inject`], [`World::poll_external`]
//! * programs that live outside, such as async tasks: [`World::open_process`], [`World::process_call`],
//!   [`World::poll_news`]
//! * result: [`World::finish`]

pub mod check;
pub mod config;
pub mod fault;
pub mod link;
pub mod nat;
pub mod program;
mod queue;
pub mod switch;
mod world;

pub use config::{RunEnd, RunLimit, WorldConfig};
pub use fault::{Fault, FaultAction};
pub use link::{Impairment, LinkConfig, LinkId, LinkState};
pub use nat::NatConfig;
pub use program::{Action, Event, Program, ProgramId};
pub use switch::{PortConfig, PortMode, SwitchConfig};
pub use world::{MAX_CALLS_PER_INSTANT, MAX_STORM, MAX_SWITCHES, News, Process, SPIN_STATUS, World};
