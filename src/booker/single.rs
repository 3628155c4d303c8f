//! Members alone: those of a batch that the database refused, and stored ones that are decided anew.

use tracing::error;

use super::desk::{Desk, Lock, receipt};
use super::plan::{Forced, Member, Outcome};
use super::{Decided, Incoming, Judgement, Receipt, Refusal};
use crate::domain::ids::CallbackId;
use crate::store::StoreError;
use crate::store::booking::{Standing, State};

/// Longest wait between two tries of a failed callback.
const RETRY_MAX_S: i64 = 3_600;

impl Desk {
    pub(super) async fn one_by_one(&mut self, bodies: &[Incoming]) -> Vec<Result<Receipt, Refusal>> {
        let mut receipts = Vec::with_capacity(bodies.len());
        for incoming in bodies {
            let member = self.member(incoming);
            let outcome = self.alone(member).await;
            let is_gone = matches!(outcome, Err(Refusal::Unavailable));
            receipts.push(outcome.map(|outcome| receipt(&outcome)));
            if is_gone {
                break;
            }
        }
        // Without a database nobody else needs to try: they are told so at once.
        receipts.resize_with(bodies.len(), || Err(Refusal::Unavailable));
        receipts
    }

    /// One member in a transaction of its own; kept as `failed` when the database refuses just this one.
    async fn alone(&mut self, member: Member<'_>) -> Result<Outcome, Refusal> {
        let refused = match self.transact(&member, None).await {
            Ok(outcome) => return Ok(outcome),
            Err(StoreError::Refused(source)) => source.to_string(),
            Err(other) => {
                self.give_up(&other);
                return Err(Refusal::Unavailable);
            }
        };
        self.roll_back().await;
        let is_held = member.standing.is_some_and(|standing| standing.state == State::Held);
        if member.incoming.order.is_some() || is_held {
            error!(error = refused, "The database refuses an order or a decision anew; everything stands as it stood");
            return Err(Refusal::Refused);
        }
        let failed = Member { forced: Some(Forced::Fail), ..member };
        match self.transact(&failed, Some(&refused)).await {
            Ok(outcome) => {
                error!(callback.id = %outcome.id, error = refused, "Callback {} could not be booked; it is kept and tried again", outcome.id);
                Ok(outcome)
            }
            Err(other) => {
                self.give_up(&other);
                Err(Refusal::Unavailable)
            }
        }
    }

    async fn transact(&mut self, member: &Member<'_>, failure: Option<&str>) -> Result<Outcome, StoreError> {
        self.begin().await?;
        let mut outcomes = self.book_locked(std::slice::from_ref(member)).await?;
        let outcome = outcomes.pop().ok_or_else(|| StoreError::Corrupt("a member without an outcome".into()))?;
        // Another replica may have booked it meanwhile: then there is nothing left to try.
        if let Some(error) = failure.filter(|_| outcome.state == State::Failed) {
            let attempts = member.standing.map_or(0, |standing| standing.attempts);
            let next_us = (self.parts.clock)().saturating_add(retry_after_us(attempts));
            self.connection()?.note_failure(outcome.id, error, next_us).await?;
        } else if member.standing.is_some() {
            self.connection()?.forget_failures(&[outcome.id]).await?;
        }
        self.commit().await?;
        Ok(outcome)
    }

    /// Decides stored callbacks anew. One transaction for a dry run, so that the diff is of all of them together;
    /// one each otherwise, so that a refused one stops none of the others.
    pub(super) async fn decide_again(
        &mut self,
        stored: &[(CallbackId, Incoming)],
        dry_run: bool,
        judgement: Option<Judgement>,
    ) -> Result<Vec<Decided>, Refusal> {
        if dry_run {
            let outcomes = self.rehearse(stored, judgement).await;
            self.roll_back().await;
            let strange = stored.iter().filter(|(_, incoming)| !self.may_decide(incoming, judgement));
            let strange: Vec<Decided> = strange.map(|(id, _)| (*id, Err(Refusal::NotConfigured))).collect();
            let decided = outcomes.map(|all| all.into_iter().map(|outcome| (outcome.id, Ok(outcome))));
            return decided.map(|decided| decided.chain(strange).collect()).map_err(|error| match error {
                StoreError::Refused(_) => Refusal::Refused,
                StoreError::Unreachable(_) | StoreError::Query(_) | StoreError::Corrupt(_) => {
                    self.give_up(&error);
                    Refusal::Unavailable
                }
            });
        }
        let mut decided: Vec<Decided> = Vec::with_capacity(stored.len());
        let mut is_gone = false;
        for (id, incoming) in stored {
            let outcome = match is_gone {
                // Without a database nobody else needs to try.
                true => Err(Refusal::Unavailable),
                false if !self.may_decide(incoming, judgement) => Err(Refusal::NotConfigured),
                false => self.decide_one(*id, incoming, judgement).await,
            };
            is_gone = matches!(outcome, Err(Refusal::Unavailable));
            decided.push((*id, outcome));
        }
        Ok(decided)
    }

    /// What books nothing needs no settings.
    fn may_decide(&self, incoming: &Incoming, judgement: Option<Judgement>) -> bool {
        judgement == Some(Judgement::Dismiss) || self.parts.knows(incoming.merchant)
    }

    async fn decide_one(
        &mut self,
        id: CallbackId,
        incoming: &Incoming,
        judgement: Option<Judgement>,
    ) -> Result<Outcome, Refusal> {
        match self.standing(id).await {
            Ok(standing) => self.alone(judged(Member { standing, ..self.member(incoming) }, judgement)).await,
            Err(error) => {
                self.give_up(&error);
                Err(Refusal::Unavailable)
            }
        }
    }

    async fn rehearse(
        &mut self,
        stored: &[(CallbackId, Incoming)],
        judgement: Option<Judgement>,
    ) -> Result<Vec<Outcome>, StoreError> {
        self.begin().await?;
        let ids: Vec<_> = stored.iter().map(|(id, _)| *id).collect();
        let standing = self.connection()?.standing(&ids).await?;
        let members: Vec<_> = stored
            .iter()
            .filter(|(_, incoming)| self.may_decide(incoming, judgement))
            .map(|(id, incoming)| Member {
                standing: standing.iter().find(|standing| standing.id == *id).copied(),
                ..self.member(incoming)
            })
            .filter(|member| member.standing.is_some())
            .map(|member| judged(member, judgement))
            .collect();
        self.book_locked(&members).await
    }

    /// How a stored callback stands. Read before its own transaction, and checked by nobody else meanwhile:
    /// see `book`, which asks again under the lock.
    async fn standing(&mut self, id: CallbackId) -> Result<Option<Standing>, StoreError> {
        self.connect().await?;
        Ok(self.connection()?.standing(&[id]).await?.pop())
    }

    pub(super) async fn book_locked(&mut self, members: &[Member<'_>]) -> Result<Vec<Outcome>, StoreError> {
        let outcomes = self.book(Lock::Locked, members).await?;
        outcomes.ok_or_else(|| StoreError::Corrupt("the head moved under its lock".into()))
    }
}

fn judged(mut member: Member<'_>, judgement: Option<Judgement>) -> Member<'_> {
    match judgement {
        Some(Judgement::BookAnyway(waived)) => member.policy.waived = waived,
        Some(Judgement::Dismiss) => member.forced = Some(Forced::Dismiss),
        None => {}
    }
    member
}

/// 2 s, 4 s, 8 s … up to an hour.
fn retry_after_us(attempts: i32) -> i64 {
    let seconds = 2_i64.saturating_pow(u32::try_from(attempts).unwrap_or(0).saturating_add(1)).min(RETRY_MAX_S);
    seconds.saturating_mul(1_000_000)
}
