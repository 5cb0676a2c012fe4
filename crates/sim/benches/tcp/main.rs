//! How fast TCP is, beside smoltcp on the same workload in the same run: ours, theirs, ours, theirs.
//!
//! `cargo bench -p sim --bench tcp` runs every row; words name rows (`-- bulk conn`), `pairs=5` sets how often the two
//! take turns and `scale=10` makes the work smaller by that. Times are the process's CPU time. Our side has SACK,
//! timestamps, cubic, RACK and both checksums on; smoltcp has no congestion control, SACK or timestamps.
//! What connections and hosts weigh is measured by the benchmark `tcp_memory`.

mod bulk;
#[path = "../common/mod.rs"]
mod common;
mod connections;
mod dumbbell;
mod duo;
mod requests;
mod smol;

use common::{Args, Bar, compare, cpu};

fn main() {
    let args = Args::parse();
    bulk::rows(&args);
    connections::rows(&args);
    dumbbell::rows(&args);
    requests::rows(&args);
}
