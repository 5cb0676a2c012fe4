//! `ip addr` and `ip link`
