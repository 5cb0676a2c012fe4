//! Whether the journal of a run shows what the scenario expects.
