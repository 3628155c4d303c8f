//! A held callback whose money people book by hand: the order and the end of the hold are one transaction, so that neither
//! a replay nor another person can move the same money as well.

use tracing::error;

use super::desk::{Desk, receipt};
use super::plan::{Forced, Member, Outcome, Plan};
use super::{Incoming, Receipt, Refusal};
use crate::domain::decide::{Policy, corrected, is_booked_meanwhile};
use crate::domain::ids::{CallbackId, CustomerId};
use crate::domain::payment::Payment;
use crate::domain::reason::Reason;
use crate::store::StoreError;
use crate::store::booking::State;

impl Desk {
    /// Books an order in place of a held callback: both in one transaction, or neither.
    pub(super) async fn replace(
        &mut self,
        id: CallbackId,
        held: &Incoming,
        order: &Incoming,
    ) -> Result<Receipt, Refusal> {
        match self.replaced(id, held, order).await {
            Ok(receipt) => Ok(receipt),
            Err(StoreError::Refused(source)) => {
                error!(callback.id = %id, error = %source, "The database refuses a correction; everything stands as it stood");
                self.roll_back().await;
                Err(Refusal::Refused)
            }
            Err(other) => {
                self.give_up(&other);
                Err(Refusal::Unavailable)
            }
        }
    }

    async fn replaced(&mut self, id: CallbackId, held: &Incoming, order: &Incoming) -> Result<Receipt, StoreError> {
        self.begin().await?;
        let standing = self.connection()?.standing(&[id]).await?.pop();
        let standing = Some(standing.ok_or_else(|| StoreError::Corrupt(format!("there is no callback {id}")))?);
        let held = Member { standing, forced: Some(Forced::Correct), ..self.member(held) };
        let outcomes = self.book_locked(&[held, self.member(order)]).await?;
        let [held, placed] = outcomes.as_slice() else {
            return Err(StoreError::Corrupt("a member without an outcome".into()));
        };
        // Placed before, it took the callback's place then.
        let not_held = held.declined.or(held.is_unchanged.then_some(Reason::NotOpen));
        let declined = placed.declined.or(not_held).filter(|_| !placed.is_duplicate);
        if declined.is_some() || placed.is_duplicate {
            self.roll_back().await;
        } else {
            self.commit().await?;
        }
        Ok(Receipt { declined, ..receipt(placed) })
    }
}

impl Plan {
    /// A held callback whose money is booked by hand: it books nothing, and its payment is over.
    pub(super) fn correct(
        &mut self,
        index: usize,
        member: &Member<'_>,
        (payment, has_twin): (Option<Payment>, bool),
        customer: Option<CustomerId>,
    ) -> Outcome {
        let incoming = member.incoming;
        let held_for = member.standing.and_then(|standing| standing.reason);
        let (mut id, before) = (payment.as_ref().map(|payment| payment.id), payment.as_ref());
        // The same transaction may have been booked meanwhile under another id.
        let is_twin = has_twin && held_for != Some(Reason::PossibleDuplicate);
        let is_booked = is_twin || is_booked_meanwhile(&incoming.callback, before, held_for);
        if let Some(applied) = corrected(&incoming.callback, before) {
            id = Some(self.keep_payment(incoming, &applied, payment, customer));
        }
        let outcome = self.conclude(index, member, State::Ignored, Some(Reason::Corrected), id, customer);
        Outcome { declined: is_booked.then_some(Reason::NotOpen), ..outcome }
    }
}

/// How a discrepancy ended that a hold had opened.
pub(super) fn how_released(state: State, reason: Option<Reason>, policy: Policy) -> &'static str {
    match state {
        State::Ignored if reason == Some(Reason::Corrected) => "corrected",
        State::Ignored => "dismissed",
        State::Booked if !policy.waived.is_nothing() => "booked anyway",
        State::Booked | State::Held | State::Failed => "decided anew",
    }
}
