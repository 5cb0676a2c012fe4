//! wirelab
fn main() {}
