//! Reading a file that a user names: never more of it than makes sense, and errors that say what is wrong with it.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

/// The whole file, which a pipe may be, if it has at most `max` bytes.
pub(super) fn bytes(path: &Path, max: u64) -> io::Result<Vec<u8>> {
    let file = File::open(path)?;
    let mut bytes = Vec::new();
    // A pipe's or a device's length is known when it ends, if it does.
    if file.metadata()?.len() <= max {
        file.take(max + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 <= max {
            return Ok(bytes);
        }
    }
    Err(io::Error::other(format!("it is longer than {max} bytes, the most that is read")))
}

/// The same of a text.
pub(super) fn text(path: &Path, max: u64) -> io::Result<String> {
    String::from_utf8(bytes(path, max)?).map_err(|e| {
        let good = &e.as_bytes()[..e.utf8_error().valid_up_to()];
        let line = good.iter().filter(|b| **b == b'\n').count() + 1;
        io::Error::other(format!(
            "it is no text: line {line}, byte {} of the file is not UTF-8",
            good.len() + 1
        ))
    })
}
