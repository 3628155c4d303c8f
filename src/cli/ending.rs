//! `withdrawals refund|conclude`: the same as the admin API does, with the same refusals. The command asks; what needs a
//! second person waits for an approver on the page or the API, who must go by another name.

use std::time::Duration;

use clap::{Args, ValueEnum};

use super::decider;
use super::output::{Usage, say, tell};
use crate::app::{App, Tasks};
use crate::booker::ending::Ending;
use crate::booker::resolve::ResolveError;
use crate::config::Settings;
use crate::http::admin::query::text;
use crate::http::admin::resolution::resolver;
use crate::store::proposals::State;

/// Who decides it, and why.
#[derive(Args)]
pub struct Decided {
    /// Why; it is kept for ever
    #[arg(long, value_name = "TEXT")]
    note: String,
    /// Who decides: the name of an operator's or approver's token
    #[arg(long, value_name = "NAME")]
    by: String,
}

/// How it ended at the processor.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum Outcome {
    /// The money went out
    Settled,
    /// It did not, and is the customer's again
    Failed,
}

impl From<Outcome> for Ending {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Settled => Self::Settled,
            Outcome::Failed => Self::Failed,
        }
    }
}

/// Exit code 3 if there is no such withdrawal, 4 if it may not end so.
pub async fn run(settings: Settings, id: i64, ending: Ending, decided: Decided) -> anyhow::Result<u8> {
    let note = text("note", decided.note).map_err(Usage)?;
    let actor = decider(&settings, &decided.by)?;
    let mut tasks = Tasks::default();
    let app = App::start(settings, Vec::new(), &mut tasks).await?;
    let ended = resolver(&app).end(id, ending, &note, &actor).await;
    drop(app);
    tasks.drain(Duration::from_secs(10)).await?;
    match ended {
        Ok(proposal) if proposal.state == State::Waiting => {
            say(&format!(
                "proposal {} waits for an approver other than {}; nothing has moved",
                proposal.id, actor.name
            ))?;
            Ok(0)
        }
        Ok(proposal) if proposal.state == State::Declined => {
            tell(&format!("tallyhook: the ledger declined it: {}", proposal.outcome.unwrap_or_default()));
            Ok(4)
        }
        Ok(_) => {
            let state = if ending == Ending::Settled { "settled" } else { "failed, and its money is back" };
            say(&format!("withdrawal {id} is {state}"))?;
            Ok(0)
        }
        Err(error @ ResolveError::NotFound(_)) => {
            tell(&format!("tallyhook: {error}"));
            Ok(3)
        }
        Err(error @ (ResolveError::Unfit(_) | ResolveError::Conflict { .. } | ResolveError::SelfApproval)) => {
            tell(&format!("tallyhook: {error}"));
            Ok(4)
        }
        Err(error @ (ResolveError::Refused(_) | ResolveError::Store(_))) => Err(error.into()),
    }
}
