//! `discrepancies list|show|resolve`: what the admin API answers and does, through the same code and with the same
//! refusals. What needs a second person waits for an approver on the page or the API, who must go by another name.

use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};

use super::books::show;
use super::output::{Listing, Output, Usage, say, tell};
use super::{decider, refused};
use crate::app::{App, Tasks, database, now_us};
use crate::booker::resolve::{Asking, Linked, Named};
use crate::config::{Settings, Sources};
use crate::domain::account::AccountKind;
use crate::http::admin::query::Params;
use crate::http::admin::resolution::{self, Wanted, declined, resolver};
use crate::http::admin::resolution_shape as shape;
use crate::http::error::ApiError;
use crate::store::StoreError;
use crate::store::discrepancies;
use crate::store::proposals::State;

const COLUMNS: &[&str] =
    &["id", "opened_at", "merchant", "kind", "reason", "currency", "amount", "callback_id", "owner", "resolved_at"];
/// How long the booker may take to end.
const PATIENCE: Duration = Duration::from_secs(10);

#[derive(Subcommand)]
pub enum Command {
    /// Lists what somebody must look at, newest first
    List(Box<ListArgs>),
    /// Everything about one; exit code 3 if there is none
    Show {
        id: i64,
        #[arg(long, value_enum, default_value_t)]
        output: Output,
    },
    /// Resolves one, or asks a second person to agree; exit code 4 if it can't be done
    Resolve(Box<ResolveArgs>),
}

#[derive(Args)]
pub struct ListArgs {
    /// open, resolved or all
    #[arg(long, default_value = "open")]
    pub state: String,
    #[arg(long, value_name = "NAME")]
    pub merchant: Option<String>,
    #[arg(long, value_name = "WORD")]
    pub reason: Option<String>,
    #[arg(long, value_name = "NAME")]
    pub owner: Option<String>,
    /// Opened since: a time such as 2026-11-20T12:00:00Z, or how long ago, such as 2h or 7d
    #[arg(long, value_name = "TIME")]
    pub since: Option<String>,
    /// Opened before
    #[arg(long, value_name = "TIME")]
    pub until: Option<String>,
    /// How many, at most
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..))]
    pub limit: u64,
    #[arg(long, value_enum, default_value_t)]
    pub output: Output,
}

#[derive(Args)]
pub struct ResolveArgs {
    pub id: i64,
    #[arg(value_enum)]
    pub action: Action,
    /// Why; it is kept for ever
    #[arg(long, value_name = "TEXT")]
    pub note: String,
    /// Who decides: the name of an operator's or approver's token
    #[arg(long, value_name = "NAME")]
    pub by: String,
    /// assign, correct: the customer
    #[arg(long, value_name = "TEXT", conflicts_with = "foreign_id")]
    pub end_user_reference: Option<String>,
    /// assign, correct: the customer, by a foreign id of theirs
    #[arg(long, value_name = "TEXT")]
    pub foreign_id: Option<String>,
    /// link: the payment that it tells of
    #[arg(long, value_name = "TYPE/ID")]
    pub payment: Option<String>,
    /// correct: the account to debit
    #[arg(long, value_name = "KIND")]
    pub debit: Option<String>,
    /// correct: the account to credit
    #[arg(long, value_name = "KIND")]
    pub credit: Option<String>,
    #[arg(long, value_name = "CODE")]
    pub currency: Option<String>,
    #[arg(long, value_name = "DECIMAL")]
    pub amount: Option<String>,
    #[arg(long, value_enum, default_value_t)]
    pub output: Output,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
#[value(rename_all = "snake_case")]
pub enum Action {
    /// Money in suspense is this customer's
    Assign,
    /// A held callback is booked although its reason holds it
    BookAnyway,
    /// A held callback books nothing, ever
    Ignore,
    /// A held callback tells of a payment that is booked
    Link,
    /// One posting by hand
    Correct,
}

impl Action {
    const fn word(self) -> &'static str {
        match self {
            Self::Assign => "assign",
            Self::BookAnyway => "book_anyway",
            Self::Ignore => "ignore",
            Self::Link => "link",
            Self::Correct => "correct",
        }
    }
}

pub async fn run(command: Command, sources: &Sources) -> anyhow::Result<u8> {
    let settings = Settings::load(sources)?;
    match command {
        Command::List(args) => list(&settings, *args).await,
        Command::Show { id, output } => {
            let row = resolution::detail(&database(&settings).await?, id).await?;
            show(row, &format!("discrepancy {id}"), output)
        }
        Command::Resolve(args) => resolve(settings, *args).await,
    }
}

async fn list(settings: &Settings, args: ListArgs) -> anyhow::Result<u8> {
    let ListArgs { state, merchant, reason, owner, since, until, limit, output } = args;
    let db = database(settings).await?;
    let given = [
        ("state", Some(state)),
        ("merchant", merchant),
        ("reason", reason),
        ("owner", owner),
        ("since", since),
        ("until", until),
    ];
    let filter = resolution::filter(&mut Params::of(given), &db, now_us()).await.map_err(Usage)?;
    let mut listing = Listing::new(COLUMNS);
    let fill = listing.fill(limit, async |after, room| {
        let page = discrepancies::list(&db, &filter, after, room).await?;
        Ok::<_, StoreError>((page.rows.iter().map(shape::discrepancy).collect(), page.next))
    });
    fill.await?;
    listing.print(output)?;
    Ok(0)
}

async fn resolve(settings: Settings, args: ResolveArgs) -> anyhow::Result<u8> {
    let (id, output) = (args.id, args.output);
    let actor = decider(&settings, &args.by)?;
    let (action, note) = wanted(args)?.action().map_err(Usage)?;
    let mut tasks = Tasks::default();
    let app = App::start(settings, Vec::new(), &mut tasks).await?;
    let asked = resolver(&app).ask(id, &action, &note, &actor).await;
    let row = resolution::detail(&app.db, id).await;
    drop(app);
    tasks.drain(PATIENCE).await?;
    match asked {
        Ok(Asking::Proposed(proposal)) if proposal.state == State::Waiting => {
            let name = actor.name;
            say(&format!("proposal {} waits for an approver other than {name}; nothing has moved", proposal.id))?;
            Ok(0)
        }
        Ok(Asking::Proposed(proposal)) if proposal.state == State::Declined => refused(declined(proposal.outcome)),
        Ok(Asking::Proposed(_) | Asking::Done) => {
            tell("It is done.");
            show(row?, &format!("discrepancy {id}"), output)
        }
        Err(error) => refused(ApiError::from(error)),
    }
}

/// The body that the API would be sent.
fn wanted(args: ResolveArgs) -> Result<Wanted, Usage> {
    let ResolveArgs { action, note, end_user_reference, foreign_id, payment, debit, credit, currency, amount, .. } =
        args;
    let customer = end_user_reference.map(Named::EndUserReference).or(foreign_id.map(Named::ForeignId));
    let payment = payment.map(|payment| {
        let parts = payment.split_once('/').map(|(kind, id)| Linked { r#type: kind.to_owned(), id: id.to_owned() });
        parts.ok_or_else(|| Usage("--payment is a type and an id, such as deposit/2686563.".to_owned()))
    });
    let account = |word: Option<String>| {
        let Some(word) = word else { return Ok(None) };
        let found = AccountKind::ALL.into_iter().find(|kind| kind.name() == word);
        found.map(Some).ok_or_else(|| {
            let words: Vec<_> = AccountKind::ALL.iter().map(|kind| kind.name()).collect();
            Usage(format!("an account is one of {}.", words.join(", ")))
        })
    };
    Ok(Wanted {
        action: Some(action.word().to_owned()),
        note: Some(note),
        customer,
        payment: payment.transpose()?,
        debit: account(debit)?,
        credit: account(credit)?,
        currency,
        amount,
    })
}
