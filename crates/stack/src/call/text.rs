//! The text form of calls and results, as `strace` writes them.
