//! The peer: hosts of smoltcp 0.14 in memory, checksums on, frames from a pool, programs that copy in and out.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;

use smoltcp::iface::{Config, Interface, SocketSet};
use smoltcp::phy::{self, Checksum, ChecksumCapabilities, Device, DeviceCapabilities, Medium};
use smoltcp::time::Instant;
use smoltcp::wire::{HardwareAddress, IpCidr, Ipv4Address};

/// The second of a pair.
pub(crate) const SERVER: Ipv4Address = Ipv4Address::new(10, 9, 0, 2);

/// Frames on the way.
pub(crate) type Wire = Rc<RefCell<VecDeque<Vec<u8>>>>;
/// Buffers of frames that were.
pub(crate) type Pool = Rc<RefCell<Vec<Vec<u8>>>>;

/// An interface without a wire.
pub(crate) struct Memory {
    pub(crate) rx: Wire,
    pub(crate) tx: Wire,
    pool: Pool,
}

pub(crate) struct Rx(Vec<u8>, Pool);
pub(crate) struct Tx(Wire, Pool);

impl phy::RxToken for Rx {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        let result = f(&self.0);
        self.1.borrow_mut().push(self.0);
        result
    }
}

impl phy::TxToken for Tx {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, f: F) -> R {
        let mut frame = self.1.borrow_mut().pop().unwrap_or_else(|| Vec::with_capacity(1600));
        frame.resize(len, 0);
        let result = f(&mut frame);
        self.0.borrow_mut().push_back(frame);
        result
    }
}

impl Device for Memory {
    type RxToken<'a> = Rx;
    type TxToken<'a> = Tx;

    fn capabilities(&self) -> DeviceCapabilities {
        let mut caps = DeviceCapabilities::default();
        caps.medium = Medium::Ip;
        caps.max_transmission_unit = 1500;
        caps.checksum = ChecksumCapabilities::default();
        caps.checksum.tcp = Checksum::Both;
        caps.checksum.ipv4 = Checksum::Both;
        caps
    }

    fn receive(&mut self, _now: Instant) -> Option<(Rx, Tx)> {
        let frame = self.rx.borrow_mut().pop_front()?;
        Some((Rx(frame, self.pool.clone()), Tx(self.tx.clone(), self.pool.clone())))
    }

    fn transmit(&mut self, _now: Instant) -> Option<Tx> {
        Some(Tx(self.tx.clone(), self.pool.clone()))
    }
}

/// One host.
pub(crate) struct Host {
    pub(crate) device: Memory,
    pub(crate) iface: Interface,
    pub(crate) sockets: SocketSet<'static>,
}

impl Host {
    pub(crate) fn new(n: u8, rx: Wire, tx: Wire, pool: Pool) -> Host {
        let mut device = Memory { rx, tx, pool };
        let mut config = Config::new(HardwareAddress::Ip);
        config.random_seed = n.into();
        let mut iface = Interface::new(config, &mut device, Instant::from_micros(1_000_000));
        iface.update_ip_addrs(|a| {
            a.push(IpCidr::new(Ipv4Address::new(10, 9, 0, n).into(), 24)).expect("room")
        });
        Host { device, iface, sockets: SocketSet::new(vec![]) }
    }

    pub(crate) fn poll(&mut self, now: Instant) {
        self.iface.poll(now, &mut self.device, &mut self.sockets);
    }
}

/// Two hosts joined.
pub(crate) fn pair() -> (Host, Host) {
    let (ab, ba, pool) = (Wire::default(), Wire::default(), Pool::default());
    (Host::new(1, ba.clone(), ab.clone(), pool.clone()), Host::new(2, ab, ba, pool))
}
