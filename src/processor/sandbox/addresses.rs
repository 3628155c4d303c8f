//! Addresses that look right: alphabet, length and, except for Ethereum's mixed case, checksum of the test networks. They
//! are made of the seed alone; nobody has their keys.

use sha2::{Digest, Sha256};

use super::currencies::Network;

const BASE58: &[u8; 58] = b"123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz";
const RIPPLE58: &[u8; 58] = b"rpshnaf39wBUDNEGHJKLM4PQRST7VWXYZ2bcdeCg65jkm8oFqi1tuvAxyz";
const BECH32: &[u8; 32] = b"qpzry9x8gf2tvdw0s3jn54khce6mua7l";

/// An address, and the tag that must go with it.
pub(super) fn address(network: Network, entropy: &[u8; 32]) -> (String, Option<i64>) {
    let hash: &[u8] = entropy.get(..20).unwrap_or_default();
    match network {
        Network::Bitcoin => (bech32("tb", &witness(hash)), None),
        Network::Litecoin => (bech32("tltc", &witness(hash)), None),
        Network::BitcoinCash => (base58check(0x6f, hash, BASE58), None),
        Network::Dogecoin => (base58check(0x71, hash, BASE58), None),
        Network::Tron => (base58check(0x41, hash, BASE58), None),
        Network::Ethereum => (format!("0x{}", const_hex::encode(hash)), None),
        Network::Cardano => {
            let mut bytes = vec![0x60];
            bytes.extend(entropy.get(..28).unwrap_or_default());
            (bech32("addr_test", &fives(&bytes)), None)
        }
        Network::Solana => (base58(entropy, BASE58), None),
        Network::Ripple => {
            let tag = entropy.last_chunk::<4>().map_or(0, |tail| u32::from_be_bytes(*tail));
            (base58check(0, hash, RIPPLE58), Some(i64::from(tag >> 1)))
        }
        Network::Fiat => (String::new(), None),
    }
}

/// A txid as the chain writes it.
pub(super) fn txid(network: Network, entropy: &[u8; 32]) -> String {
    let hex = const_hex::encode(entropy);
    match network {
        Network::Ethereum => format!("0x{hex}"),
        Network::Ripple => hex.to_uppercase(),
        Network::Solana => base58(&[*entropy, *entropy].concat(), BASE58),
        Network::Bitcoin
        | Network::Litecoin
        | Network::BitcoinCash
        | Network::Dogecoin
        | Network::Tron
        | Network::Cardano
        | Network::Fiat => hex,
    }
}

/// Whether money can be sent there at all: the shape, not the checksum.
pub(super) fn is_payable(network: Network, address: &str) -> bool {
    match network {
        Network::Ethereum => address
            .strip_prefix("0x")
            .is_some_and(|hex| hex.len() == 40 && hex.bytes().all(|byte| byte.is_ascii_hexdigit())),
        Network::Bitcoin
        | Network::Litecoin
        | Network::BitcoinCash
        | Network::Dogecoin
        | Network::Tron
        | Network::Ripple
        | Network::Cardano
        | Network::Solana
        | Network::Fiat => {
            let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b':' | b'_');
            (20..=128).contains(&address.len()) && address.bytes().all(fits)
        }
    }
}

/// Groups of five bits, the last one filled up with zeros.
fn fives(bytes: &[u8]) -> Vec<u8> {
    let (mut groups, mut held, mut bits) = (Vec::new(), 0_u16, 0_u32);
    for byte in bytes {
        held = (held.wrapping_shl(8) | u16::from(*byte)) & 0x0fff;
        bits = bits.saturating_add(8);
        while bits >= 5 {
            bits = bits.saturating_sub(5);
            groups.push(u8::try_from(held.wrapping_shr(bits) & 31).unwrap_or(0));
        }
    }
    if bits > 0 {
        groups.push(u8::try_from(held.wrapping_shl(5_u32.saturating_sub(bits)) & 31).unwrap_or(0));
    }
    groups
}

/// Version 0 and a program.
fn witness(program: &[u8]) -> Vec<u8> {
    let mut groups = vec![0];
    groups.extend(fives(program));
    groups
}

/// BIP 173: the groups and six more that check them.
fn bech32(prefix: &str, groups: &[u8]) -> String {
    let high = prefix.bytes().map(|byte| byte >> 5);
    let low = prefix.bytes().map(|byte| byte & 31);
    let all = high.chain([0]).chain(low).chain(groups.iter().copied()).chain([0; 6]);
    let check = all.fold(1_u32, polymod) ^ 1;
    let sums =
        (0..6_u32).rev().map(|group| u8::try_from(check.wrapping_shr(group.saturating_mul(5)) & 31).unwrap_or(0));
    let chars = groups.iter().copied().chain(sums).filter_map(|group| BECH32.get(usize::from(group)));
    format!("{prefix}1{}", chars.copied().map(char::from).collect::<String>())
}

fn polymod(sum: u32, group: u8) -> u32 {
    const GENERATORS: [u32; 5] = [0x3b6a_57b2, 0x2650_8e6d, 0x1ea1_19fa, 0x3d42_33dd, 0x2a14_62b3];
    let top = sum >> 25;
    let next = (sum & 0x01ff_ffff).wrapping_shl(5) ^ u32::from(group);
    let chosen = (0_u32..).zip(GENERATORS).filter(|(bit, _)| top.wrapping_shr(*bit) & 1 == 1);
    chosen.fold(next, |next, (_, generator)| next ^ generator)
}

fn base58check(version: u8, hash: &[u8], alphabet: &[u8; 58]) -> String {
    let mut bytes = vec![version];
    bytes.extend(hash);
    let check = Sha256::digest(Sha256::digest(&bytes));
    bytes.extend(check.iter().take(4));
    base58(&bytes, alphabet)
}

fn base58(bytes: &[u8], alphabet: &[u8; 58]) -> String {
    // Digits of base 58, the least first.
    let mut digits: Vec<u8> = Vec::new();
    for byte in bytes {
        let mut carry = u32::from(*byte);
        for digit in &mut digits {
            let sum = u32::from(*digit).wrapping_shl(8).saturating_add(carry);
            *digit = u8::try_from(sum.rem_euclid(58)).unwrap_or(0);
            carry = sum.div_euclid(58);
        }
        while carry > 0 {
            digits.push(u8::try_from(carry.rem_euclid(58)).unwrap_or(0));
            carry = carry.div_euclid(58);
        }
    }
    let zeros = bytes.iter().take_while(|byte| **byte == 0).map(|_| 0);
    let letters = zeros.chain(digits.into_iter().rev()).filter_map(|digit| alphabet.get(usize::from(digit)));
    letters.copied().map(char::from).collect()
}
