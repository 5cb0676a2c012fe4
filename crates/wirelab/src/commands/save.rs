//! Writing a file so that it is there whole or not at all.
//!
//! Devices and pipes (`/dev/stdout`, `/dev/null`, a FIFO that Wireshark reads) are written to as they are:
//! replacing them would destroy them.

use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use crate::Exit;
use crate::output::Output;

/// Writes `path` by way of a temporary file beside it: a failure half way leaves nothing behind.
pub(crate) fn save(path: &Path, write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> io::Result<()> {
    let path = &target(path);
    if is_special(path) {
        let mut out = BufWriter::new(std::fs::OpenOptions::new().write(true).open(path)?);
        write(&mut out)?;
        return out.flush();
    }
    let mut out = BufWriter::new(beside(path)?);
    write(&mut out)?;
    let file = out.into_inner().map_err(|e| e.into_error())?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        // Temporary files are private; a capture is an ordinary file.
        file.as_file().set_permissions(std::fs::Permissions::from_mode(0o644))?;
    }
    file.persist(path).map_err(|e| e.error)?;
    Ok(())
}

/// Whether [`save`] will find a place for `path`: asked before work that takes long and would be lost.
pub(crate) fn can_save(path: &Path) -> io::Result<()> {
    let path = &target(path);
    if path.is_dir() {
        return Err(io::ErrorKind::IsADirectory.into());
    }
    if is_special(path) { Ok(()) } else { beside(path).map(drop) }
}

/// Says that a file cannot be written, and what option says where it goes.
pub(crate) fn unwritable(path: &Path, e: &io::Error, hint: &str, out: &mut Output) -> Exit {
    out.error(format_args!("cannot write {}: {e}", path.display()), Some(hint));
    Exit::Environment
}

/// The target of a link is replaced, not the link.
fn target(path: &Path) -> PathBuf {
    std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned())
}

fn is_special(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|m| !m.is_file())
}

/// A new file in the folder of `path`.
fn beside(path: &Path) -> io::Result<NamedTempFile> {
    let dir = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    tempfile::Builder::new().prefix(".wirelab-").tempfile_in(dir).map_err(|e| {
        // Its own error names the temporary file, which nobody asked for.
        let shown = dir.display();
        let message = match e.kind() {
            io::ErrorKind::NotFound if !dir.exists() => format!("there is no folder {shown}"),
            io::ErrorKind::NotADirectory => format!("{shown} is no folder"),
            kind => format!("no file can be made in the folder {shown}: {kind}"),
        };
        io::Error::new(e.kind(), message)
    })
}
