//! A deck: whole HTTP requests, signed and laid out one after another before the clock starts.
//! All have the same length, so that the next one is a multiplication away. Owns no socket.

use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use hmac::Mac as _;

use crate::body::{BODIES_MAX, Crowd, body};
use crate::merchants::{Merchant, hex};

pub(crate) struct Deck {
    bytes: Vec<u8>,
    stride: usize,
    /// The index of the first body in it.
    pub(crate) first: u64,
    pub(crate) count: usize,
}

/// What the deck is made from.
#[derive(Clone)]
pub(crate) struct Recipe {
    pub(crate) crowd: Crowd,
    pub(crate) merchants: Arc<Vec<Merchant>>,
    pub(crate) path: String,
}

impl Recipe {
    pub(crate) fn new(customers: u64, merchants: Vec<Merchant>) -> Self {
        let crowd = Crowd { customers, merchants: merchants.len() as u64 };
        Self { crowd, merchants: Arc::new(merchants), path: "/callbacks/alphapo".to_owned() }
    }

    /// Signs bodies `first` to `first + count`, on as many threads as there are cores.
    pub(crate) fn sign(&self, first: u64, count: usize) -> Result<Deck> {
        ensure!(first + count as u64 <= BODIES_MAX, "ids of nine digits end at body {BODIES_MAX}");
        let stride = self.request(first)?.len();
        let mut bytes = vec![0_u8; stride.checked_mul(count).context("a deck larger than memory")?];
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let share = count.div_ceil(threads).max(1);
        std::thread::scope(|scope| {
            let parts: Vec<_> = bytes
                .chunks_mut(share * stride)
                .enumerate()
                .map(|(part, slice)| scope.spawn(move || self.fill(slice, stride, first + (part * share) as u64)))
                .collect();
            parts
                .into_iter()
                .try_for_each(|part| part.join().map_err(|_| anyhow::anyhow!("a signing thread panicked"))?)
        })?;
        Ok(Deck { bytes, stride, first, count })
    }

    fn fill(&self, slice: &mut [u8], stride: usize, first: u64) -> Result<()> {
        for (index, place) in (first..).zip(slice.chunks_exact_mut(stride)) {
            let request = self.request(index)?;
            ensure!(request.len() == stride, "request {index} has another length than the first one");
            place.copy_from_slice(&request);
        }
        Ok(())
    }

    fn request(&self, index: u64) -> Result<Vec<u8>> {
        let which = usize::try_from(self.crowd.merchant(index))?;
        let merchant = self.merchants.get(which).context("more merchants in the crowd than in the list")?;
        let body = body(self.crowd, index);
        let mut mac = merchant.mac()?;
        mac.update(body.as_bytes());
        let signature = hex(&mac.finalize().into_bytes());
        let (path, key, length) = (&self.path, &merchant.key, body.len());
        Ok(format!(
            "POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nX-Processing-Key: {key}\r\n\
             X-Processing-Signature: {signature}\r\nContent-Length: {length}\r\n\r\n{body}"
        )
        .into_bytes())
    }
}

impl Deck {
    /// Requests that somebody else made.
    pub(crate) fn of(requests: impl Iterator<Item = Result<Vec<u8>>>) -> Result<Self> {
        let mut deck = Self { bytes: Vec::new(), stride: 0, first: 0, count: 0 };
        for request in requests {
            let request = request?;
            ensure!(deck.count == 0 || request.len() == deck.stride, "a request has another length than the first one");
            deck.stride = request.len();
            deck.bytes.extend_from_slice(&request);
            deck.count += 1;
        }
        Ok(deck)
    }

    pub(crate) fn request(&self, place: usize) -> Option<&[u8]> {
        let start = place.checked_mul(self.stride)?;
        self.bytes.get(start..start + self.stride)
    }
}
