//! Answers to members of a batch that is over: committed, or refused. They go out once the next batch is on its way to
//! the database, at once when none waits: whoever is woken by them would take the processor from the database, which
//! everybody waits for.

use tracing::debug;

use super::ahead::Answer;
use super::{Receipt, Refusal};
use crate::metrics::Metrics;
use crate::store::booking::State;

#[derive(Default)]
pub(super) struct Owed {
    receipts: Vec<Result<Receipt, Refusal>>,
    answers: Vec<Answer>,
}

impl Owed {
    pub(super) const fn new(receipts: Vec<Result<Receipt, Refusal>>, answers: Vec<Answer>) -> Self {
        Self { receipts, answers }
    }

    /// Answers everybody, once.
    pub(super) fn pay(&mut self, metrics: &Metrics) {
        for (receipt, answer) in self.receipts.drain(..).zip(self.answers.drain(..)) {
            if let Ok(receipt) = &receipt {
                count(metrics, receipt);
            }
            // A client that hung up is no loss: the callback is booked, and sent again it will be a duplicate.
            if answer.send(receipt).is_err() {
                debug!("Nobody waited for an answer");
            }
        }
    }
}

fn count(metrics: &Metrics, receipt: &Receipt) {
    if receipt.is_order {
        return;
    }
    let states = &metrics.callbacks;
    let counter = match receipt.state {
        _ if receipt.is_duplicate => &states.duplicate,
        State::Booked => &states.booked,
        State::Ignored => &states.ignored,
        State::Held => &states.held,
        State::Failed => &states.failed,
    };
    counter.increment();
}
