//! Records or a capture to flows, findings, explanation, ladder and diff.
//!
//! Nothing here knows who wrote the records: our stack, a real kernel's probes, or a capture file. A
//! packet is taken apart in [`view`], put into words in [`mod@meaning`], followed from its sender to its
//! receivers in [`traffic`]; everything a user sees is made from those three and the other records.

mod align;
#[cfg(test)]
mod build;
pub mod capture;
pub mod compare;
pub mod diff;
pub mod dissect;
pub mod explain;
pub mod export;
mod findings;
mod housekeeping;
pub mod ladder;
pub mod meaning;
pub mod normal;
pub mod phases;
pub mod traffic;
pub mod view;

pub use capture::from_capture;
pub use compare::{Comparison, Tolerance, compare, compare_on_wheel};
pub use diff::{Diff, diff};
pub use dissect::{Dissection, KeyLog};
pub use explain::{Explanation, explain, explain_traffic};
pub use export::{pcapng, pcapng_of};
pub use meaning::meaning;
