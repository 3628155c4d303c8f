//! The merchants of a run: names, keys and secrets made on the spot, and their signatures.
//! Never reads a real key; the file for the baselines lies in the run's own folder.

use std::fmt::Write as _;
use std::io::Read as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use hmac::{Hmac, KeyInit as _};
use sha2::Sha512;

#[derive(Clone)]
pub(crate) struct Merchant {
    /// Lower case, as events and balances name it.
    pub(crate) name: String,
    pub(crate) key: String,
    pub(crate) secret: String,
}

impl Merchant {
    /// The state after the key has been taken in; one clone signs or checks one body.
    pub(crate) fn mac(&self) -> Result<Hmac<Sha512>> {
        Hmac::new_from_slice(self.secret.as_bytes()).context("HMAC takes keys of any length")
    }
}

/// One merchant is called `main`, several `m00`, `m01`, … All keys have the same length, so that
/// all requests have.
pub(crate) fn make(count: usize) -> Result<Vec<Merchant>> {
    let name = |i: usize| {
        if count == 1 { "main".to_owned() } else { format!("m{i:02}") }
    };
    (0..count).map(|i| Ok(Merchant { name: name(i), key: random_hex(16)?, secret: random_hex(32)? })).collect()
}

pub(crate) fn random_hex(bytes: usize) -> Result<String> {
    let mut raw = vec![0_u8; bytes];
    let mut source = std::fs::File::open("/dev/urandom").context("opening /dev/urandom")?;
    source.read_exact(&mut raw).context("reading /dev/urandom")?;
    Ok(hex(&raw))
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        write!(text, "{byte:02x}").expect("writing to a String cannot fail");
    }
    text
}

pub(crate) fn write_file(path: &Path, merchants: &[Merchant]) -> Result<()> {
    use std::io::Write as _;
    let mut file = std::fs::OpenOptions::new().create_new(true).write(true).mode(0o600).open(path)?;
    for m in merchants {
        writeln!(file, "{} {} {}", m.name, m.key, m.secret)?;
    }
    Ok(())
}

pub(crate) fn read_file(path: &Path) -> Result<Vec<Merchant>> {
    let text = std::fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
    let merchants: Vec<Merchant> = text
        .lines()
        .filter_map(|line| {
            let mut words = line.split(' ');
            let (name, key, secret) = (words.next()?, words.next()?, words.next()?);
            Some(Merchant { name: name.to_owned(), key: key.to_owned(), secret: secret.to_owned() })
        })
        .collect();
    ensure!(!merchants.is_empty(), "{} names no merchant", path.display());
    Ok(merchants)
}
