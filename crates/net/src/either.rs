//! A socket of a world or one of tokio's, and methods that are the same on both.

/// One socket of a world, or one of tokio's.
#[derive(Debug)]
pub(crate) enum Either<P> {
    Lab(crate::sock::Sock),
    Plain(P),
}

/// What `$self.0` answers, whichever it is.
macro_rules! either {
    ($self:expr, $lab:ident => $on_lab:expr, $plain:ident => $on_plain:expr) => {
        match &$self.0 {
            Either::Lab($lab) => $on_lab,
            Either::Plain($plain) => $on_plain,
        }
    };
}

/// The methods of `SO_LINGER`.
macro_rules! linger {
    () => {
        /// `SO_LINGER`
        pub fn linger(&self) -> io::Result<Option<Duration>> {
            either!(self, s => options::linger(s), p => p.linger())
        }

        /// `SO_LINGER`. Unlike on the machine, dropping the stream does not block the thread for so long.
        #[deprecated = "`SO_LINGER` causes the socket to block the thread on drop"]
        pub fn set_linger(&self, dur: Option<Duration>) -> io::Result<()> {
            #[expect(deprecated, reason = "the same method of tokio")]
            let result = either!(self, s => options::set_linger(s, dur), p => p.set_linger(dur));
            result
        }

        /// `SO_LINGER` with zero: dropping the stream resets the connection.
        pub fn set_zero_linger(&self) -> io::Result<()> {
            either!(self, s => options::set_linger(s, Some(Duration::ZERO)), p => p.set_zero_linger())
        }
    };
}

/// The methods of `SO_BINDTODEVICE`.
macro_rules! device {
    () => {
        /// `SO_BINDTODEVICE`
        pub fn device(&self) -> io::Result<Option<Vec<u8>>> {
            either!(self, s => options::device(s), p => p.device())
        }

        /// `SO_BINDTODEVICE`
        pub fn bind_device(&self, interface: Option<&[u8]>) -> io::Result<()> {
            either!(self, s => options::bind_device(s, interface), p => p.bind_device(interface))
        }
    };
}

pub(crate) use {device, either, linger};
