//! Kernel traces of TCP experiments as the lab's `truth` folder writes them: two hosts, one path that drops and delays
//! exactly chosen packets, real sockets; one line a packet, a call or a note.
//!
//! [`Trace`] reads one, [`Script`] says what its programs did (a trace is the experiment and the answer in one; what it
//! does not tell stands in a table, see [`read_table`]), and [`packets`] holds another run of the same experiment to it.
//! Who runs it is not known here: the stack's own tests do, and `wirelab replay` on any kernel.

mod compare;
mod script;
mod trace;

pub use compare::{Conns, Differences, Tolerance, packets, text};
pub use script::{Do, Entry, Offsets, Script, Step, read_table};
pub use trace::{App, Host, Line, Mark, Packet, Trace};
