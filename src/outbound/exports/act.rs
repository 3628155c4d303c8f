//! What is done about the rows of an export that did not match: the processor is asked about what it knows and we do not,
//! and its answer booked like any callback; everything else is told to a person, each difference once and for ever. Row by
//! row: being stopped loses nothing, and doing a row again changes nothing.

use std::time::Duration;

use tokio::time::sleep;

use super::story::story;
use super::{ExportError, Stage};
use crate::app::App;
use crate::domain::amount::Amount;
use crate::domain::decide::Credit;
use crate::domain::ids::CallbackId;
use crate::domain::matching::{self, Currencies, Rules, Story, Verdict, compare, is_behind, name_of};
use crate::domain::order::{Finding, Order};
use crate::domain::pairing::How;
use crate::domain::payment::Status;
use crate::domain::reason::Reason;
use crate::processor::client::{Credentials, Subject, Trouble};
use crate::processor::wire;
use crate::store::exports::{self, Export, Row, RowState};
use crate::store::{heard, reconcile};

/// Rows that are taken up at once.
const PAGE: u64 = 200;
/// Failures in a row after which the processor is left alone.
const FAILURES_MAX: u32 = 5;
/// After a failure. Whoever asks too often is turned away for a minute.
const PAUSE_MIN: Duration = Duration::from_millis(100);
const PAUSE_LIMITED: Duration = Duration::from_secs(15);
const PAUSE_MAX: Duration = Duration::from_secs(30);

/// One pass over the rows of an export.
pub(super) struct Act<'a> {
    app: &'a App,
    export: &'a Export,
    credentials: &'a Credentials,
    credit: Credit,
    rules: Rules,
    /// Between two questions.
    pause: Duration,
    failures: u32,
    pub unasked: u64,
    pub trouble: Option<String>,
}

/// What the processor said.
enum Answer {
    Booked(CallbackId),
    /// It knows nothing, or something else.
    Nothing(&'static str),
    Silent,
}

impl<'a> Act<'a> {
    pub(super) fn new(app: &'a App, export: &'a Export) -> Result<Self, ExportError> {
        let settings = &app.settings.reconcile.csv;
        let credentials = app.credentials(export.merchant).ok_or(ExportError::NoCredentials)?;
        let merchant = app.settings.merchant(app.merchant_name(export.merchant)).ok_or(ExportError::NoCredentials)?;
        let rules = Rules {
            amount: settings.amount_tolerance,
            time_us: settings.time_tolerance_s.saturating_mul(1_000_000),
            from_us: export.from_us,
            until_us: export.until_us,
        };
        let pause = Duration::from_mins(1).checked_div(settings.asks_per_minute).unwrap_or_default();
        let (credit, failures, unasked, trouble) = (merchant.policy.credit, 0, 0, None);
        Ok(Self { app, export, credentials, credit, rules, pause, failures, unasked, trouble })
    }

    /// Takes up what was found, and looks again at what was told to someone: it may be gone by now.
    pub(super) async fn all(&mut self, tell: &(impl Fn(Stage, u64, u64) + Sync)) -> Result<(), ExportError> {
        let (db, id) = (&self.app.db, self.export.id);
        let all = u64::try_from(self.export.counts.differences()).unwrap_or_default();
        let mut done = 0_u64;
        for state in [RowState::Open, RowState::Found] {
            let mut after = 0;
            loop {
                let page = exports::rows(db, id, after, Some(state), PAGE).await?;
                let Some(last) = page.last().map(|row| row.ordinal) else { break };
                for mut row in page {
                    if state == RowState::Open {
                        self.look_again(&mut row).await?;
                    } else {
                        self.take_up(&mut row).await?;
                    }
                    exports::mark(db, id, &row).await?;
                    done = done.saturating_add(1);
                    tell(Stage::Settling, done, all.max(done));
                }
                after = last;
            }
        }
        Ok(())
    }

    /// Told before. What agrees by now is settled.
    async fn look_again(&self, row: &mut Row) -> Result<(), ExportError> {
        let Some(discrepancy) = row.discrepancy else { return Ok(()) };
        if !reconcile::is_open(&self.app.db, discrepancy).await? {
            row.state = RowState::Over;
            return Ok(());
        }
        if row.verdict == Verdict::MissingThere || self.verdict(row).await?.0 != Verdict::Matched {
            return Ok(());
        }
        let note = "the ledger agrees with the export by now";
        crate::outbound::settle(self.app, self.export.merchant, discrepancy, note, "reconciliation").await?;
        row.state = RowState::Over;
        Ok(())
    }

    async fn take_up(&mut self, row: &mut Row) -> Result<(), ExportError> {
        let is_repeated_id = row.verdict == Verdict::Duplicate && row.how == Some(How::Id);
        // One of several parts: its amount alone says nothing.
        let is_part = row.verdict == Verdict::Status && row.note.is_some();
        if row.verdict == Verdict::MissingThere || is_repeated_id || is_part {
            return self.open(row).await;
        }
        let (verdict, ours) = self.verdict(row).await?;
        let is_else = verdict != Verdict::Matched;
        if is_else && heard::is_corrected(&self.app.db, self.export.merchant, row.family, &row.ext_id).await? {
            row.note = Some("people booked its money by hand".to_owned());
            row.state = RowState::Over;
            return Ok(());
        }
        let is_unknown = verdict == Verdict::MissingHere && row.how != Some(How::Reference);
        let is_behind = ours.as_ref().is_some_and(|ours| is_behind(&told(row), &ours.ours));
        if !is_unknown && !is_behind {
            return self.end(row, verdict, ours.as_ref()).await;
        }
        if let Some(waiting) = heard::waiting(&self.app.db, self.export.merchant, row.family, &row.ext_id).await? {
            return self.waits(row, waiting).await;
        }
        match self.ask(row).await? {
            Answer::Booked(callback) => {
                row.callback = Some(callback);
                let (verdict, ours) = self.verdict(row).await?;
                let waiting = heard::waiting(&self.app.db, self.export.merchant, row.family, &row.ext_id).await?;
                match waiting.filter(|_| verdict != Verdict::Matched) {
                    Some(waiting) => self.waits(row, waiting).await,
                    // It was told before, and dealt with: whoever did knew of it.
                    None if verdict != Verdict::Matched && heard::is_dismissed(&self.app.db, callback).await? => {
                        row.note = Some("someone decided that it books nothing".to_owned());
                        row.state = RowState::Over;
                        Ok(())
                    }
                    None => self.end(row, verdict, ours.as_ref()).await,
                }
            }
            Answer::Nothing(why) => {
                row.note = Some(why.to_owned());
                self.open(row).await
            }
            Answer::Silent => {
                self.unasked = self.unasked.saturating_add(1);
                Ok(())
            }
        }
    }

    /// How the row stands beside the ledger of this moment.
    async fn verdict(&self, row: &Row) -> Result<(Verdict, Option<Story>), ExportError> {
        // One that was paired without an id stays with its payment.
        let heard = match row.payment {
            Some(payment) => heard::of_ids(&self.app.db, &[payment.0]).await?.pop(),
            None => heard::payment(&self.app.db, self.export.merchant, row.family, &row.ext_id).await?,
        };
        let Some(heard) = heard else { return Ok((Verdict::MissingHere, None)) };
        let id = heard.payment.0;
        let mut currencies = Currencies::default();
        // The row's own currency is number 0, see [`told`].
        currencies.code(&row.currency);
        let callback = heard::told(&self.app.db, &[id]).await?.remove(&id);
        let ours = story(heard, callback, &mut currencies, self.credit);
        let is_by_id = row.how.is_none_or(|how| how == How::Id);
        let tolerance = if is_by_id { Amount::ZERO } else { self.rules.amount };
        Ok((compare(&told(row), &ours, &self.rules, tolerance), Some(ours)))
    }

    /// It came, but waits for someone already.
    async fn waits(&self, row: &mut Row, waiting: heard::Waiting) -> Result<(), ExportError> {
        row.callback = Some(waiting.callback);
        row.note = waiting.reason.map(|reason| format!("it waits here: {}", reason.word()));
        row.discrepancy = reconcile::opened_by(&self.app.db, waiting.callback).await?;
        // One that the database refused waits for nobody: it is tried again by itself, and looked at the next time.
        row.state = if row.discrepancy.is_some() { RowState::Open } else { RowState::Found };
        Ok(())
    }

    async fn end(&self, row: &mut Row, verdict: Verdict, ours: Option<&Story>) -> Result<(), ExportError> {
        if let Some(ours) = ours {
            let sum = |sums: &[(matching::Code, Amount)]| sums.iter().find(|(code, _)| *code == 0).map(|(_, sum)| *sum);
            (row.ours, row.our_fee) = (sum(&ours.sums), sum(&ours.fees));
            (row.our_status, row.payment) = (Some(ours.ours.status), Some(ours.ours.payment));
        }
        if verdict == Verdict::Matched {
            row.state = RowState::Over;
            return Ok(());
        }
        if ours.is_some() && verdict != Verdict::MissingHere {
            row.verdict = verdict;
        }
        self.open(row).await
    }

    /// Tells someone, once for each difference: what was told before is not told again, whatever file it is in.
    async fn open(&self, row: &mut Row) -> Result<(), ExportError> {
        let reason = match row.verdict {
            Verdict::MissingHere | Verdict::Matched => Reason::ExportMissingHere,
            Verdict::MissingThere => Reason::ExportMissingThere,
            Verdict::Amount => Reason::ExportAmount,
            Verdict::Fee => Reason::ExportFee,
            Verdict::Status => Reason::ExportStatus,
            Verdict::Duplicate if row.how == Some(How::Id) => Reason::ExportDuplicate,
            Verdict::Duplicate => Reason::ExportMissingHere,
        };
        let finding = Finding {
            key: format!("export/{}/{}", row.family.name(), row.ext_id),
            reason: reason.code(),
            currency: row.currency.clone(),
            amount: at_stake(row),
            note: sentence(row),
            foreign_id: None,
        };
        let placed = self.app.booker.order(self.export.merchant, Order::Report(finding)).await?;
        row.discrepancy = reconcile::opened_by(&self.app.db, CallbackId(placed.id)).await?;
        row.state = RowState::Open;
        Ok(())
    }

    /// Asks the processor by id, no faster than the settings allow.
    async fn ask(&mut self, row: &Row) -> Result<Answer, ExportError> {
        let Ok(id) = row.ext_id.parse() else { return Ok(Answer::Nothing("its id can't be asked about")) };
        if self.failures >= FAILURES_MAX {
            return Ok(Answer::Silent);
        }
        let mut pause = self.pause;
        loop {
            sleep(pause).await;
            let trouble = match self.app.client.transaction(self.credentials, &Subject::Id(id)).await {
                Ok(None) => return Ok(Answer::Nothing("the processor knows of no such transaction")),
                Ok(Some(body)) => {
                    self.failures = 0;
                    let head = wire::read(&body).head;
                    if head.payment_id.as_deref() != Some(row.ext_id.as_str()) || head.family() != row.family {
                        return Ok(Answer::Nothing("asked about it, the processor tells of another"));
                    }
                    let receipt = self.app.booker.answered(self.export.merchant, body).await?;
                    return Ok(Answer::Booked(receipt.id));
                }
                Err(trouble) => trouble,
            };
            self.failures = self.failures.saturating_add(1);
            self.trouble = Some(trouble.to_string());
            let is_hopeless = matches!(trouble, Trouble::Refused(_));
            if is_hopeless || self.failures >= FAILURES_MAX {
                return Ok(Answer::Silent);
            }
            let least = if trouble == Trouble::Limited { PAUSE_LIMITED } else { PAUSE_MIN };
            pause = pause.saturating_mul(2).clamp(least, PAUSE_MAX);
        }
    }
}

/// The row as the matcher knows it. Its currency is number 0.
fn told(row: &Row) -> matching::Row {
    matching::Row {
        name: name_of(&row.ext_id),
        amount: row.theirs.unwrap_or_default(),
        fee: row.their_fee.unwrap_or_default(),
        at_us: 0,
        transaction: None,
        reference: None,
        line: 0,
        currency: 0,
        family: row.family,
        status: row.their_status.as_deref().and_then(Status::of),
        has_fee: row.their_fee.is_some(),
    }
}

/// How much money a difference is about.
fn at_stake(row: &Row) -> Amount {
    let gap = |left: Option<Amount>, right: Option<Amount>| {
        let gap = left?.checked_sub(right.unwrap_or_default())?;
        Some(if gap < Amount::ZERO { gap.negated() } else { gap })
    };
    let at_stake = match row.verdict {
        Verdict::Amount => gap(row.theirs, row.ours),
        Verdict::Fee => gap(row.their_fee, row.our_fee),
        Verdict::MissingThere => row.ours,
        Verdict::MissingHere | Verdict::Status | Verdict::Duplicate | Verdict::Matched => row.theirs,
    };
    at_stake.unwrap_or_default()
}

/// Both sides in a sentence that says the same whatever file it is from.
fn sentence(row: &Row) -> String {
    let side = |amount: Option<Amount>, fee: Option<Amount>, status: Option<&str>| {
        let amount = amount.map_or_else(|| "nothing".to_owned(), |amount| format!("{amount} {}", row.currency));
        let fee = fee.map(|fee| format!(", fee {fee}")).unwrap_or_default();
        format!("{amount}{fee}, {}", status.unwrap_or("no status"))
    };
    let theirs = side(row.theirs, row.their_fee, row.their_status.as_deref());
    let ours = side(row.ours, row.our_fee, row.our_status.map(Status::word));
    let name = format!("{} {}", row.family.name(), row.ext_id);
    match row.verdict {
        Verdict::MissingThere => format!("{name}: the ledger has {ours}; the export has no such row"),
        Verdict::MissingHere | Verdict::Duplicate | Verdict::Matched => {
            let why = row.note.as_deref().map(|note| format!(" ({note})")).unwrap_or_default();
            format!("{name}: the export has {theirs}; the ledger has no such payment{why}")
        }
        Verdict::Amount | Verdict::Fee | Verdict::Status => {
            format!("{name}: the export has {theirs}; the ledger has {ours}")
        }
    }
}
