//! A block of addresses, such as `10.0.0.0/8`.

use std::{fmt, net::IpAddr, str::FromStr};

/// The addresses that share the first `bits` with `address`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Network {
    address: IpAddr,
    bits: u8,
}

/// A text that is no block of addresses.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected an address such as 192.0.2.7, or a block such as 10.0.0.0/8, without bits after its prefix")]
pub struct InvalidNetwork;

fn number(address: IpAddr) -> (u128, u8) {
    match address {
        IpAddr::V4(v4) => (u128::from(v4.to_bits()), 32),
        IpAddr::V6(v6) => (v6.to_bits(), 128),
    }
}

/// What is left of `number` without its last `bits`.
fn prefix(number: u128, bits: u8) -> u128 {
    number.checked_shr(u32::from(bits)).unwrap_or(0)
}

impl Network {
    /// Whether `address` is in the block; an IPv4 address that is written as an IPv6 one is that IPv4 address.
    pub fn contains(&self, address: IpAddr) -> bool {
        let ((own, width), (given, given_width)) = (number(self.address), number(address.to_canonical()));
        width == given_width && prefix(own, width - self.bits) == prefix(given, width - self.bits)
    }
}

impl FromStr for Network {
    type Err = InvalidNetwork;

    fn from_str(text: &str) -> Result<Self, InvalidNetwork> {
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| InvalidNetwork)?;
        let (number, width) = number(address);
        let bits = bits.map_or(Ok(width), str::parse).map_err(|_| InvalidNetwork)?;
        // 0.0.0.0/0 would believe everybody, which nobody means.
        if width < bits || bits == 0 {
            return Err(InvalidNetwork);
        }
        let after = width - bits;
        if prefix(number, after).checked_shl(u32::from(after)).unwrap_or(0) != number {
            return Err(InvalidNetwork);
        }
        Ok(Self { address, bits })
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.bits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_has_the_addresses_that_share_its_prefix() {
        let has = |network: &str, address: &str| {
            network.parse::<Network>().expect("valid").contains(address.parse().expect("an address"))
        };
        assert!(has("10.0.0.0/8", "10.255.0.1") && has("10.0.0.0/8", "::ffff:10.1.2.3"));
        assert!(!has("10.0.0.0/8", "11.0.0.1") && !has("10.0.0.0/8", "::a00:1"));
        assert!(has("192.0.2.7", "192.0.2.7") && !has("192.0.2.7", "192.0.2.6"));
        assert!(has("2001:db8::/32", "2001:db8:1::1") && !has("2001:db8::/32", "2001:db9::1"));
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        for text in ["", "10", "10.0.0.0/33", "10.0.0.1/8", "0.0.0.0/0", "::/0", "example.com", "10.0.0.0/-1", "a/8"] {
            assert!(text.parse::<Network>().is_err(), "{text}");
        }
    }
}
