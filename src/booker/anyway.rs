//! Booking what is held although reasons hold it: all of them are named when it is asked for, so nobody waives one unseen.

use std::collections::BTreeMap;

use super::Judgement;
use super::replay::judge;
use super::resolve::{ResolveError, Resolver, is_hold};
use crate::domain::amount::Amount;
use crate::domain::decide::Waived;
use crate::domain::reason::Reason;
use crate::store::booking::State as CallbackState;
use crate::store::discrepancies::Listed;
use crate::store::proposals::State;

impl Resolver<'_> {
    pub(super) async fn book_anyway(
        &self,
        listed: &Listed,
        although: &[String],
    ) -> Result<(State, String), ResolveError> {
        let known = |word: &String| Reason::ALL.iter().copied().find(|reason| reason.word() == word);
        let judgement = Judgement::BookAnyway(waived(although.iter().filter_map(known)));
        let ids = [listed.discrepancy.callback];
        let diff = judge(self.db, self.booker, &ids, Some(judgement), false).await?;
        Ok(match diff.changes.first() {
            Some(change) if change.state == CallbackState::Booked => (State::Done, "booked".to_owned()),
            Some(change) => {
                let why = change.reason.map_or(change.state.word(), Reason::word);
                (State::Declined, why.to_owned())
            }
            None => (State::Declined, "its body is pruned".to_owned()),
        })
    }

    /// The largest amount of each currency that booking it anyway would move, and all the reasons that hold it.
    pub(super) async fn would_move(
        &self,
        listed: &Listed,
    ) -> Result<(BTreeMap<String, Amount>, Vec<Reason>), ResolveError> {
        let ids = [listed.discrepancy.callback];
        let (mut although, mut next) = (Vec::new(), listed.discrepancy.reason);
        loop {
            if !is_hold(listed) || !next.can_be_waived() || although.contains(&next) {
                return Err(ResolveError::Unfit(format!("`{}` can't be booked anyway", next.word())));
            }
            although.push(next);
            let judgement = Judgement::BookAnyway(waived(although.iter().copied()));
            let diff = judge(self.db, self.booker, &ids, Some(judgement), true).await?;
            let unfit =
                || ResolveError::Unfit("it can't be decided anew: it is booked, or its body is pruned".to_owned());
            let change = diff.changes.first().ok_or_else(unfit)?;
            if change.state != CallbackState::Booked {
                next = change.reason.filter(|_| change.state == CallbackState::Held).ok_or_else(unfit)?;
                continue;
            }
            let mut moves: BTreeMap<String, Amount> = BTreeMap::new();
            for posting in &change.postings {
                let most = moves.entry(posting.debit.currency.clone()).or_default();
                *most = (*most).max(posting.amount);
            }
            return Ok((moves, although));
        }
    }
}

fn waived(reasons: impl Iterator<Item = Reason>) -> Waived {
    reasons.map(Waived::of).fold(Waived::default(), Waived::and)
}
