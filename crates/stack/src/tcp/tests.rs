//! Two hosts on a wire, real system calls: what programs see and what goes over the wire.

mod basic;
mod ecn;
mod ending;
mod fastopen;
mod fixture;
mod forged;
mod icmp;
mod info;
mod listening;
mod memory;
mod models;
mod notes;
mod opening;
mod transfer;
