//! Which addresses a sink may reach.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ureq::Error;
use ureq::config::Config;
use ureq::http::Uri;
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::NextTimeout;

/// Addresses beyond the link-local ranges at which clouds hand out a machine's credentials:
/// Alibaba, Azure, Oracle.
const METADATA_V4: [Ipv4Addr; 3] = [
    Ipv4Addr::new(100, 100, 100, 200),
    Ipv4Addr::new(168, 63, 129, 16),
    Ipv4Addr::new(192, 0, 0, 192),
];

/// The same in IPv6: AWS, Google.
const METADATA_V6: [Ipv6Addr; 2] = [
    Ipv6Addr::new(0xfd00, 0x0ec2, 0, 0, 0, 0, 0, 0x254),
    Ipv6Addr::new(0xfd20, 0x00ce, 0, 0, 0, 0, 0, 0x254),
];

/// Whether no sink may reach the address: link-local, metadata, or one of these in disguise.
///
/// Loopback and private ranges are fine: the operator configured the sink.
pub(crate) fn is_refused(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.is_link_local() || METADATA_V4.contains(&v4),
        IpAddr::V6(v6) => {
            v6.is_unicast_link_local()
                || METADATA_V6.contains(&v6)
                || embedded_v4(v6).is_some_and(|v4| is_refused(IpAddr::V4(v4)))
        }
    }
}

/// The IPv4 address that packets to `address` end up at: mapped, compatible, NAT64 (RFC 6052) or
/// 6to4 (RFC 3056).
fn embedded_v4(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let [a, b, c, d, e, f, g, h, i, j, k, l, tail @ ..] = address.octets();
    let high = [a, b, c, d, e, f, g, h, i, j, k, l];
    match high {
        [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff]
        | [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]
        | [0x00, 0x64, 0xff, 0x9b, 0, 0, 0, 0, 0, 0, 0, 0] => Some(Ipv4Addr::from(tail)),
        [0x20, 0x02, w, x, y, z, ..] => Some(Ipv4Addr::new(w, x, y, z)),
        _ => None,
    }
}

/// Looks a name up once per attempt and gives the connection no address that is refused.
///
/// What is checked is what is connected to: there is no second look-up that could answer otherwise.
#[derive(Debug, Default)]
pub(crate) struct CheckedResolver {
    names: DefaultResolver,
}

impl Resolver for CheckedResolver {
    fn resolve(
        &self,
        uri: &Uri,
        config: &Config,
        timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, Error> {
        let found = self.names.resolve(uri, config, timeout)?;
        let mut kept = self.empty();
        for address in found.iter().filter(|address| !is_refused(address.ip())) {
            kept.push(*address);
        }
        if kept.is_empty() { Err(Error::Other(Box::new(AddressRefused))) } else { Ok(kept) }
    }
}

/// The receiver's name leads nowhere but to refused addresses.
#[derive(Debug, thiserror::Error)]
#[error("the host's only addresses are link-local or metadata addresses, which are refused")]
struct AddressRefused;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn link_local_and_metadata_addresses_are_refused_in_every_disguise() {
        let refused = [
            "169.254.169.254",
            "169.254.0.1",
            "100.100.100.200",
            "168.63.129.16",
            "192.0.0.192",
            "fe80::1",
            "febf::1",
            "fd00:ec2::254",
            "fd20:ce::254",
            "::ffff:169.254.169.254",
            "::169.254.169.254",
            "64:ff9b::a9fe:a9fe",
            "2002:a9fe:a9fe::1",
        ];
        for text in refused {
            assert!(is_refused(text.parse().unwrap()), "{text}");
        }
    }

    #[test]
    fn loopback_private_and_public_addresses_are_fine() {
        let fine = [
            "127.0.0.1",
            "::1",
            "10.0.0.1",
            "192.168.1.1",
            "172.16.0.1",
            "169.253.255.255",
            "169.255.0.0",
            "93.184.216.34",
            "fec0::1",
            "fd00::1",
            "2001:db8::1",
            "::ffff:127.0.0.1",
        ];
        for text in fine {
            assert!(!is_refused(text.parse().unwrap()), "{text}");
        }
    }
}
