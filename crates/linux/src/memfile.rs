//! Files without a name: the standard streams of commands, so that no output is too long and nothing blocks.
#![expect(unsafe_code, reason = "memfd_create")]

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use crate::sys::{self, check};

/// The most that is kept of a command's output.
const MAX_OUTPUT: usize = 16 << 20;

/// An anonymous file in memory.
pub(crate) struct MemFile(OwnedFd);

impl MemFile {
    /// A file that holds `content` and is read from its beginning.
    pub(crate) fn new(content: &[u8]) -> io::Result<MemFile> {
        // SAFETY: the name is a C string; the descriptor is new and ours.
        let fd = unsafe {
            OwnedFd::from_raw_fd(check(libc::memfd_create(c"wirelab".as_ptr(), libc::MFD_CLOEXEC))?)
        };
        sys::write_all(fd.as_raw_fd(), content)?;
        // SAFETY: plain integers.
        check(
            libc::c_int::try_from(unsafe { libc::lseek(fd.as_raw_fd(), 0, libc::SEEK_SET) }).unwrap_or(-1),
        )?;
        Ok(MemFile(fd))
    }

    pub(crate) fn raw(&self) -> i32 {
        self.0.as_raw_fd()
    }

    /// All that was written to it.
    pub(crate) fn text(&self) -> String {
        read_from_start(&self.0)
            .map_or_else(|e| format!("({e})"), |bytes| String::from_utf8_lossy(&bytes).into_owned())
    }
}

/// Reads a whole file, however far somebody else has read it.
pub(crate) fn read_from_start(fd: &OwnedFd) -> io::Result<Vec<u8>> {
    let mut out = Vec::new();
    let mut buf = vec![0; 64 * 1024];
    while out.len() < MAX_OUTPUT {
        let offset = i64::try_from(out.len()).expect("limited above");
        match sys::pread(fd.as_raw_fd(), &mut buf, offset)? {
            0 => break,
            n => out.extend_from_slice(&buf[..n]),
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_is_read_however_often() {
        let file = MemFile::new(b"route add\n").unwrap();
        assert_eq!(file.text(), "route add\n");
        assert_eq!(file.text(), "route add\n");
    }
}
