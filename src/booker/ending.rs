//! Ending a withdrawal that its callbacks can't end. It goes the way of every decision about money: a proposal, a second
//! person above the configured amount, and an order of ours. What may still be on its way never comes back.

use std::collections::BTreeMap;

use super::OrderError;
use super::resolve::{Action, ResolveError, Resolver, conflict, json, people};
use crate::domain::order::Order;
use crate::store::audit_log::Actor;
use crate::store::proposals::{self, Asked, Proposal, State as Stand};
use crate::store::withdrawals::{self, Open, State};

/// How a withdrawal ends by a person's word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// It is missing, and was never done: the money comes back.
    Refunded,
    /// The processor paid it out.
    Settled,
    /// The processor took it, and did not pay it out: the money comes back.
    Failed,
}

impl Ending {
    const fn action(self) -> Action {
        match self {
            Self::Refunded => Action::Refund,
            Self::Settled => Action::Conclude { settled: true },
            Self::Failed => Action::Conclude { settled: false },
        }
    }

    const fn of(action: &Action) -> Option<Self> {
        match action {
            Action::Refund => Some(Self::Refunded),
            Action::Conclude { settled: true } => Some(Self::Settled),
            Action::Conclude { settled: false } => Some(Self::Failed),
            Action::Assign { .. }
            | Action::BookAnyway { .. }
            | Action::Ignore
            | Action::Link { .. }
            | Action::Correct { .. } => None,
        }
    }
}

impl Resolver<'_> {
    /// Ends a withdrawal, or writes it down for a second person.
    pub async fn end(&self, id: i64, ending: Ending, note: &str, actor: &Actor) -> Result<Proposal, ResolveError> {
        let none = || ResolveError::NotFound(format!("withdrawal {id}"));
        let open = withdrawals::get(self.db, id).await?.ok_or_else(none)?;
        if matches!(open.state, State::Settled | State::Failed) {
            return Err(conflict("not_open", format!("this withdrawal is {}", open.state.word())));
        }
        self.fits(&open, ending).map_err(|why| ResolveError::Unfit(why.to_owned()))?;
        let action = ending.action();
        let asked = Asked {
            merchant: open.merchant,
            discrepancy: 0,
            withdrawal: id,
            action: action.word(),
            params: json(&action)?,
            note: note.to_owned(),
            moves: json(&BTreeMap::from([(&open.currency, open.amount)]))?,
            needs_second: self.rules.needs_second(&open.currency, open.amount),
            at_us: self.now_us,
        };
        let Some(proposal) = proposals::ask(self.db, &asked, actor).await? else {
            return Err(conflict("proposal_open", "another proposal about this withdrawal is open".to_owned()));
        };
        self.carry_out(proposal, actor).await
    }

    /// Whether it may end so as it stands. The error says why not.
    fn fits(&self, open: &Open, ending: Ending) -> Result<(), &'static str> {
        match (ending, open.state) {
            (Ending::Refunded, _) if open.is_missing(self.now_us, self.missing_us) => Ok(()),
            (Ending::Refunded, _) => {
                Err("it is not missing: the processor must have known nothing of it for the time that the setting says")
            }
            (Ending::Settled, State::Unknown | State::Pending) if !open.has_hold => Err(
                "nothing was set aside for it, so this would move nothing: have the processor repeat its callback, or \
                 correct the difference of the balances that it leaves, from available of whom it was sent for",
            ),
            (Ending::Settled, State::Unknown | State::Pending) | (Ending::Failed, State::Pending) => Ok(()),
            (Ending::Failed, State::Unknown) => {
                Err("the processor has not said that it knows it: once it is missing, refund it")
            }
            (_, State::Requested | State::Sent | State::Settled | State::Failed) => {
                Err("it is on its way to the processor, or over")
            }
        }
    }

    /// What the ledger says to it. What was asked for then must still fit now, unless it is done already.
    pub(super) async fn execute_ending(
        &self,
        proposal: &Proposal,
        action: &Action,
    ) -> Result<(Stand, String), ResolveError> {
        let none = || ResolveError::NotFound(format!("withdrawal {}", proposal.withdrawal));
        let open = withdrawals::get(self.db, proposal.withdrawal).await?.ok_or_else(none)?;
        let Some(ending) = Ending::of(action) else {
            return Ok((Stand::Declined, "it is not about a withdrawal".to_owned()));
        };
        let is_over = matches!(open.state, State::Settled | State::Failed);
        if let Some(why) = self.fits(&open, ending).err().filter(|_| !is_over) {
            return Ok((Stand::Declined, why.to_owned()));
        }
        let (foreign_id, note, by) = (open.foreign_id, proposal.note.clone(), people(proposal));
        let order = match ending {
            Ending::Refunded => Order::Refund { foreign_id, error: format!("given back by {by}: {note}") },
            Ending::Settled => Order::Conclude { foreign_id, is_settled: true, note, by },
            Ending::Failed => Order::Conclude { foreign_id, is_settled: false, note, by },
        };
        match self.booker.order(proposal.merchant, order).await {
            Ok(placed) => Ok((Stand::Done, format!("booked as {}", placed.id))),
            Err(OrderError::Declined(reason)) => Ok((Stand::Declined, reason.word().to_owned())),
            Err(OrderError::Refused(refusal)) => Err(refusal.into()),
            Err(error @ OrderError::NoSeal) => Ok((Stand::Declined, error.to_string())),
        }
    }
}
