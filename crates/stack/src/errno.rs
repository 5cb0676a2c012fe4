//! Linux error numbers (x86-64), as system calls return them and `SO_ERROR` reports them.

use core::fmt;

/// A Linux `errno`. Any number can be carried, so that a real kernel's answer is never lost.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Errno(pub u16);

/// Number, name and `strerror` text in one place.
macro_rules! errnos {
    ($($number:literal $name:ident $text:literal;)*) => {
        impl Errno {
            $(#[doc = $text] pub const $name: Errno = Errno($number);)*
            const TABLE: &'static [(Errno, &'static str, &'static str)] =
                &[$((Errno($number), stringify!($name), $text)),*];
        }
    };
}

errnos! {
    1 EPERM "Operation not permitted";
    2 ENOENT "No such file or directory";
    3 ESRCH "No such process";
    4 EINTR "Interrupted system call";
    5 EIO "Input/output error";
    6 ENXIO "No such device or address";
    7 E2BIG "Argument list too long";
    9 EBADF "Bad file descriptor";
    11 EAGAIN "Resource temporarily unavailable";
    12 ENOMEM "Cannot allocate memory";
    13 EACCES "Permission denied";
    14 EFAULT "Bad address";
    16 EBUSY "Device or resource busy";
    17 EEXIST "File exists";
    18 EXDEV "Invalid cross-device link";
    19 ENODEV "No such device";
    22 EINVAL "Invalid argument";
    23 ENFILE "Too many open files in system";
    24 EMFILE "Too many open files";
    25 ENOTTY "Inappropriate ioctl for device";
    28 ENOSPC "No space left on device";
    29 ESPIPE "Illegal seek";
    32 EPIPE "Broken pipe";
    33 EDOM "Numerical argument out of domain";
    34 ERANGE "Numerical result out of range";
    38 ENOSYS "Function not implemented";
    40 ELOOP "Too many levels of symbolic links";
    42 ENOMSG "No message of desired type";
    62 ETIME "Timer expired";
    64 ENONET "Machine is not on the network";
    71 EPROTO "Protocol error";
    74 EBADMSG "Bad message";
    75 EOVERFLOW "Value too large for defined data type";
    88 ENOTSOCK "Socket operation on non-socket";
    89 EDESTADDRREQ "Destination address required";
    90 EMSGSIZE "Message too long";
    91 EPROTOTYPE "Protocol wrong type for socket";
    92 ENOPROTOOPT "Protocol not available";
    93 EPROTONOSUPPORT "Protocol not supported";
    94 ESOCKTNOSUPPORT "Socket type not supported";
    95 EOPNOTSUPP "Operation not supported";
    96 EPFNOSUPPORT "Protocol family not supported";
    97 EAFNOSUPPORT "Address family not supported by protocol";
    98 EADDRINUSE "Address already in use";
    99 EADDRNOTAVAIL "Cannot assign requested address";
    100 ENETDOWN "Network is down";
    101 ENETUNREACH "Network is unreachable";
    102 ENETRESET "Network dropped connection on reset";
    103 ECONNABORTED "Software caused connection abort";
    104 ECONNRESET "Connection reset by peer";
    105 ENOBUFS "No buffer space available";
    106 EISCONN "Transport endpoint is already connected";
    107 ENOTCONN "Transport endpoint is not connected";
    108 ESHUTDOWN "Cannot send after transport endpoint shutdown";
    110 ETIMEDOUT "Connection timed out";
    111 ECONNREFUSED "Connection refused";
    112 EHOSTDOWN "Host is down";
    113 EHOSTUNREACH "No route to host";
    114 EALREADY "Operation already in progress";
    115 EINPROGRESS "Operation now in progress";
    122 EDQUOT "Disk quota exceeded";
    125 ECANCELED "Operation canceled";
}

impl Errno {
    /// The symbol, such as `ECONNREFUSED`; `None` for a number without a name here.
    pub fn name(self) -> Option<&'static str> {
        Self::TABLE.iter().find(|e| e.0 == self).map(|e| e.1)
    }

    /// glibc's `strerror` text.
    pub fn text(self) -> &'static str {
        Self::TABLE.iter().find(|e| e.0 == self).map_or("Unknown error", |e| e.2)
    }

    /// The number of a symbol such as `ECONNREFUSED`.
    pub fn from_name(name: &str) -> Option<Errno> {
        let name = if name == "EWOULDBLOCK" { "EAGAIN" } else { name };
        Self::TABLE.iter().find(|e| e.1 == name).map(|e| e.0)
    }

    /// All names, for "did you mean".
    pub fn names() -> impl Iterator<Item = &'static str> {
        Self::TABLE.iter().map(|e| e.1)
    }
}

impl fmt::Display for Errno {
    /// The symbol, or `errno 250`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.pad(name),
            None => write!(f, "errno {}", self.0),
        }
    }
}

impl fmt::Debug for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl core::error::Error for Errno {}
