//! Names and addresses: `ToSocketAddrs` and `lookup_host` as in `tokio::net`. In a world, names are those of its
//! hosts, with programs or without, as if every host had all of them in `/etc/hosts`, unless the host has a resolver of its own ([`Resolve`]).

use core::any::Any;
use core::pin::Pin;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::sync::Arc;

use stack::record::NodeId;

use crate::context::{Ground, ground};
use crate::shared::Inner;

/// What can stand where an address is wanted. Implemented for what `tokio::net::ToSocketAddrs` is implemented for.
pub trait ToSocketAddrs: sealed::Sealed {}

/// An address, or a name and a port.
pub(crate) enum Target<'a> {
    Addrs(Vec<SocketAddr>),
    Name(&'a str, u16),
    Invalid(&'static str),
}

mod sealed {
    /// Only this crate implements it, as tokio's.
    pub trait Sealed {
        /// What is meant.
        #[doc(hidden)]
        #[expect(private_interfaces, reason = "the trait is sealed")]
        fn target(&self) -> super::Target<'_>;
    }
}
use sealed::Sealed;

macro_rules! impl_addr {
    ($($ty:ty),*) => {$(
        impl ToSocketAddrs for $ty {}
        #[expect(private_interfaces, reason = "the trait is sealed")]
        impl Sealed for $ty {
            fn target(&self) -> Target<'_> {
                Target::Addrs(vec![SocketAddr::from(*self)])
            }
        }
    )*};
}
impl_addr!(SocketAddr, SocketAddrV4, SocketAddrV6, (IpAddr, u16), (Ipv4Addr, u16), (Ipv6Addr, u16));

macro_rules! impl_text {
    ($($ty:ty: $self:ident => $target:expr),*) => {$(
        impl ToSocketAddrs for $ty {}
        #[expect(private_interfaces, reason = "the trait is sealed")]
        impl Sealed for $ty {
            fn target(&$self) -> Target<'_> {
                $target
            }
        }
    )*};
}
impl_text!(
    str: self => of_text(self),
    String: self => of_text(self),
    (&str, u16): self => of_name(self.0, self.1),
    (String, u16): self => of_name(&self.0, self.1),
    [SocketAddr]: self => Target::Addrs(self.to_vec())
);

impl<T: ToSocketAddrs + ?Sized> ToSocketAddrs for &T {}
#[expect(private_interfaces, reason = "the trait is sealed")]
impl<T: Sealed + ?Sized> Sealed for &T {
    fn target(&self) -> Target<'_> {
        (**self).target()
    }
}

/// `192.0.2.1:80`, `[2001:db8::1]:80`, `server:80`; the errors are the standard library's.
fn of_text(text: &str) -> Target<'_> {
    if let Ok(addr) = text.parse() {
        return Target::Addrs(vec![addr]);
    }
    let Some((name, port)) = text.rsplit_once(':') else { return Target::Invalid("invalid socket address") };
    let Ok(port) = port.parse() else { return Target::Invalid("invalid port value") };
    of_name(name, port)
}

fn of_name(name: &str, port: u16) -> Target<'_> {
    match name.parse::<IpAddr>() {
        Ok(ip) => Target::Addrs(vec![SocketAddr::new(ip, port)]),
        Err(_) => Target::Name(name, port),
    }
}

/// Addresses of a node's interfaces without loopback and link-local ones.
pub(crate) fn of_node(inner: &Inner, node: NodeId) -> Vec<IpAddr> {
    let link_local = |ip: &IpAddr| matches!(ip, IpAddr::V6(v6) if v6.is_unicast_link_local());
    let ifaces = inner.world.stack(node).interfaces().iter();
    let addrs = ifaces.flat_map(|iface| {
        let v4 = iface.addrs4.iter().map(|a| IpAddr::V4(a.addr));
        v4.chain(iface.inet6.addrs.iter().map(|a| IpAddr::V6(a.addr)))
    });
    addrs.filter(|ip| !ip.is_loopback() && !link_local(ip)).collect()
}

/// How the programs of a host look up names ([`crate::Host::set_resolver`]); the part of the C library.
pub trait Resolve: Any + Send + Sync {
    /// `getaddrinfo`: the addresses of a name that is none itself, best first. It runs on the host that asks.
    fn look_up(
        self: Arc<Self>,
        name: String,
    ) -> Pin<Box<dyn Future<Output = io::Result<Vec<IpAddr>>> + Send>>;
}

/// What the host of the current task looks names up with.
pub(crate) fn resolver_of(inner: &Inner, node: NodeId) -> Option<Arc<dyn Resolve>> {
    inner.resolvers.iter().find(|(of, _)| *of == node).map(|(_, resolver)| resolver.clone())
}

/// `getaddrinfo` on a host of a world.
fn look_up(inner: &Inner, name: &str) -> io::Result<Vec<IpAddr>> {
    if name == "localhost" {
        return Ok(vec![Ipv4Addr::LOCALHOST.into()]);
    }
    let node = inner.world.find_host(name.strip_suffix('.').unwrap_or(name));
    let addrs = node.map(|node| of_node(inner, node)).unwrap_or_default();
    if addrs.is_empty() {
        // The text of EAI_NONAME, as the standard library has it.
        return Err(io::Error::other("failed to lookup address information: Name or service not known"));
    }
    Ok(addrs)
}

/// The addresses that are meant, on the ground of the current task. The address itself is not kept: the future is
/// `Send` whatever it is.
pub(crate) fn resolve<A: ToSocketAddrs>(
    addr: A,
) -> impl Future<Output = io::Result<(Ground, Vec<SocketAddr>)>> + Send + use<A> {
    let target = match addr.target() {
        Target::Addrs(addrs) => Ok(Ok(addrs)),
        Target::Name(name, port) => Ok(Err((name.to_string(), port))),
        Target::Invalid(why) => Err(io::Error::new(io::ErrorKind::InvalidInput, why)),
    };
    async move {
        let ground = ground()?;
        let (name, port) = match target? {
            Ok(addrs) => return Ok((ground, addrs)),
            Err(name) => name,
        };
        let addrs = match &ground {
            Ground::Plain => tokio::net::lookup_host((name, port)).await?.collect(),
            Ground::Host(host) => {
                let own = host.resolver();
                let found = match own {
                    Some(resolver) => resolver.look_up(name).await?,
                    None => {
                        let found = host.shared().with(|inner| look_up(inner, &name));
                        found.unwrap_or_else(|| Err(crate::sock::os(stack::Errno::ENETDOWN)))?
                    }
                };
                found.into_iter().map(|ip| SocketAddr::new(ip, port)).collect()
            }
        };
        Ok((ground, addrs))
    }
}

/// `tokio::net::lookup_host`: the addresses of a name. In a world the hosts' names are known, and `localhost`.
pub async fn lookup_host<T: ToSocketAddrs>(host: T) -> io::Result<impl Iterator<Item = SocketAddr>> {
    Ok(resolve(host).await?.1.into_iter())
}

/// What a method says that was given no address at all.
pub(crate) fn no_address() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, "could not resolve to any address")
}
