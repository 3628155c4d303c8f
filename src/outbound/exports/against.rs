//! An export against the ledger: a page of payments after the other, each beside the row of its id; then, for what is
//! left on either side, by transaction and by reference. Only reads.

use std::collections::{HashMap, HashSet};
use std::num::NonZeroU64;

use super::story::{ours, story};
use super::{ExportError, Paper, Stage};
use crate::domain::amount::Amount;
use crate::domain::decide::Credit;
use crate::domain::ids::MerchantId;
use crate::domain::matching::{Code, Row, Rules, Sight, Story, Verdict, at_first_sight, compare, name_of};
use crate::domain::pairing::{How, Item, Pair, pair};
use crate::store::exports::{self as kept, Counts, RowState};
use crate::store::{Db, heard};

/// Payments read at once, and looked at closely at once.
const PAGE: u64 = 10_000;
const CLOSE: usize = 500;
/// Payments without a row that are looked at: more, and it is another merchant's file.
const ALONE_MAX: usize = 200_000;

/// What a file came to.
pub(super) struct Matched {
    pub rows: Vec<kept::Row>,
    pub counts: Counts,
    pub payments: i64,
}

struct Matching<'a> {
    db: &'a Db,
    paper: Paper,
    rules: Rules,
    credit: Credit,
    counts: Counts,
    found: Vec<kept::Row>,
}

pub(super) async fn match_all(
    db: &Db,
    merchant: MerchantId,
    paper: Paper,
    (rules, credit): (Rules, Credit),
    tell: &(impl Fn(Stage, u64, u64) + Sync),
) -> Result<Matched, ExportError> {
    let (counts, found) = (Counts::default(), Vec::new());
    let mut matching = Matching { db, paper, rules, credit, counts, found };
    let last = heard::last_payment(db).await?;
    let (mut after, mut payments) = (0, 0_i64);
    let (mut closer, mut alone) = (Vec::new(), Vec::new());
    loop {
        let page = heard::payments(db, merchant, after, PAGE).await?;
        let Some(end) = page.last().map(|payment| payment.payment.0) else { break };
        payments = payments.saturating_add(i64::try_from(page.len()).unwrap_or_default());
        page.iter().for_each(|payment| matching.look(payment, &mut closer, &mut alone));
        if alone.len() > ALONE_MAX {
            return Err(ExportError::Foreign(ALONE_MAX));
        }
        after = end;
        tell(Stage::Matching, after.unsigned_abs(), last.unsigned_abs());
    }
    matching.look_closer(&closer).await?;
    let alone = matching.stories(&alone).await?;
    matching.pair_up(alone);
    matching.repeats();
    let Matching { counts, mut found, .. } = matching;
    found.sort_by_key(|row| (row.line.is_none(), row.line, row.payment.map(|payment| payment.0)));
    for (ordinal, row) in (1..).zip(&mut found) {
        row.ordinal = ordinal;
    }
    Ok(Matched { rows: found, counts, payments })
}

impl Matching<'_> {
    /// The row of a payment's id, if there is one.
    fn look(&mut self, payment: &heard::Heard, closer: &mut Vec<(usize, i64)>, alone: &mut Vec<i64>) {
        let ours = ours(payment, &mut self.paper.currencies, self.credit);
        let name = name_of(&payment.ext_id);
        if let Some((place, row)) = self.paper.rows.find(payment.family, name) {
            match at_first_sight(row, &ours, &self.rules) {
                Sight::Matched => self.counts.add(Verdict::Matched),
                Sight::Closer => closer.push((place, payment.payment.0)),
            }
            return;
        }
        let Rules { from_us, until_us, time_us, .. } = self.rules;
        let is_near =
            from_us.saturating_sub(time_us) <= ours.seen_us && ours.seen_us <= until_us.saturating_add(time_us);
        if is_near && ours.money.is_some() {
            alone.push(payment.payment.0);
        }
    }

    /// Payments that do not plainly equal their rows.
    async fn look_closer(&mut self, closer: &[(usize, i64)]) -> Result<(), ExportError> {
        for chunk in closer.chunks(CLOSE) {
            let ids: Vec<i64> = chunk.iter().map(|(_, id)| *id).collect();
            let mut stories = self.stories_of(&ids).await?;
            for (place, id) in chunk {
                let (Some(story), Some(row)) = (stories.remove(id), self.paper.rows.get(*place)) else { continue };
                let verdict = compare(row, &story, &self.rules, Amount::ZERO);
                self.counts.add(verdict);
                if verdict != Verdict::Matched {
                    let row = self.described(row, verdict, Some(How::Id), Some(&story), None);
                    self.found.push(row);
                }
            }
        }
        Ok(())
    }

    async fn stories(&mut self, ids: &[i64]) -> Result<Vec<Story>, ExportError> {
        let mut all = Vec::with_capacity(ids.len());
        for chunk in ids.chunks(CLOSE) {
            let mut stories = self.stories_of(chunk).await?;
            all.extend(chunk.iter().filter_map(|id| stories.remove(id)));
        }
        Ok(all)
    }

    async fn stories_of(&mut self, ids: &[i64]) -> Result<HashMap<i64, Story>, ExportError> {
        let mut told = heard::told(self.db, ids).await?;
        let payments = heard::of_ids(self.db, ids).await?;
        let (currencies, credit) = (&mut self.paper.currencies, self.credit);
        let one = |payment: heard::Heard| {
            let id = payment.payment.0;
            (id, story(payment, told.remove(&id), currencies, credit))
        };
        Ok(payments.into_iter().map(one).collect())
    }

    /// What no id brought together.
    fn pair_up(&mut self, alone: Vec<Story>) {
        let keys: HashSet<NonZeroU64> =
            alone.iter().flat_map(|story| story.transactions.iter().copied().chain(story.reference)).collect();
        let is_wanted = |row: &Row| [row.transaction, row.reference].iter().flatten().any(|key| keys.contains(key));
        let places: Vec<usize> =
            self.paper.rows.lonely().filter(|(_, row)| is_wanted(row)).map(|(place, _)| place).collect();
        let lonely: Vec<Item> = places.iter().filter_map(|place| Some(self.paper.rows.get(*place)?.into())).collect();
        let payments: Vec<Item> = alone.iter().map(Item::from).collect();
        let mut paired = HashSet::new();
        let mut taken = HashSet::new();
        for found in pair(&lonely, &payments, &self.rules) {
            paired.extend(found.rows.iter().filter_map(|at| places.get(*at).copied()));
            taken.extend(found.payments.iter().copied());
            self.paired(&found, &places, &alone);
        }
        self.missing_here(&paired);
        for (_, story) in alone.iter().enumerate().filter(|(at, _)| !taken.contains(at)) {
            self.missing_there(story);
        }
    }

    fn paired(&mut self, pair: &Pair, places: &[usize], alone: &[Story]) {
        let stories: Vec<&Story> = pair.payments.iter().filter_map(|at| alone.get(*at)).collect();
        let rows: Vec<&Row> = pair.rows.iter().filter_map(|at| self.paper.rows.get(*places.get(*at)?)).collect();
        let is_one = rows.len() == 1 && stories.len() == 1;
        let mut found = Vec::new();
        for row in &rows {
            for story in &stories {
                let verdict = if is_one {
                    compare(row, story, &self.rules, if pair.differs { Amount::ZERO } else { self.rules.amount })
                } else if row.status == Some(story.ours.status) {
                    Verdict::Matched
                } else {
                    Verdict::Status
                };
                let of = (rows.len(), stories.len());
                let note = (!is_one).then(|| format!("{} of the export are {} of the ledger", of.0, of.1));
                found.push(self.described(row, verdict, Some(pair.how), Some(story), note));
            }
        }
        // A row counts once, however many payments it is.
        found.iter().step_by(stories.len().max(1)).for_each(|row| self.counts.add(row.verdict));
        self.found.extend(found);
    }

    /// Rows that nothing here fits. Of those whose coins another row has as well, one is a duplicate.
    fn missing_here(&mut self, paired: &HashSet<usize>) {
        let is_missing = |place: &usize| !paired.contains(place);
        let coins = |row: &Row| Some((row.transaction?, row.currency, row.amount));
        let missing: Vec<usize> = self.paper.rows.lonely().map(|(place, _)| place).filter(is_missing).collect();
        let mut met: HashMap<(NonZeroU64, Code, Amount), usize> = HashMap::new();
        for place in &missing {
            if let Some(coins) = self.paper.rows.get(*place).and_then(coins) {
                met.entry(coins).or_insert(*place);
            }
        }
        let lonely: HashSet<usize> = missing.iter().copied().collect();
        let elsewhere: HashSet<(NonZeroU64, Code, Amount)> = (0..self.paper.rows.len())
            .filter(|place| !lonely.contains(place))
            .filter_map(|place| self.paper.rows.get(place).and_then(coins))
            .filter(|coins| met.contains_key(coins))
            .collect();
        for place in missing {
            let Some(row) = self.paper.rows.get(place) else { continue };
            let is_twin = coins(row).is_some_and(|coins| elsewhere.contains(&coins) || met.get(&coins) != Some(&place));
            let (verdict, how) =
                if is_twin { (Verdict::Duplicate, Some(How::Transaction)) } else { (Verdict::MissingHere, None) };
            let note = is_twin.then(|| "another row has the same transaction, address and amount".to_owned());
            let row = self.described(row, verdict, how, None, note);
            self.counts.add(verdict);
            self.found.push(row);
        }
    }

    /// A payment that the export should have.
    fn missing_there(&mut self, story: &Story) {
        let currencies = story.sums.iter().map(|(code, _)| *code);
        if !self.paper.covers(story.ours.family, name_of(&story.id), story.ours.seen_us, currencies) {
            return;
        }
        let (currency, ours) = story.sums.first().copied().unwrap_or_default();
        self.counts.add(Verdict::MissingThere);
        self.found.push(kept::Row {
            ordinal: 0,
            verdict: Verdict::MissingThere,
            how: None,
            state: RowState::Found,
            family: story.ours.family,
            line: None,
            ext_id: story.id.clone(),
            currency: self.paper.currencies.name(currency).to_owned(),
            theirs: None,
            ours: Some(ours),
            their_fee: None,
            our_fee: story.fees.first().map(|(_, fee)| *fee),
            their_status: None,
            our_status: Some(story.ours.status),
            note: None,
            payment: Some(story.ours.payment),
            callback: None,
            discrepancy: None,
        });
    }

    /// Ids that stand there twice: harmless where the rows are the same.
    fn repeats(&mut self) {
        let mut found = Vec::new();
        for (first, row) in self.paper.rows.repeats() {
            let is_same = (first.status, first.currency, first.amount, first.fee)
                == (row.status, row.currency, row.amount, row.fee);
            let note = format!("line {} has the same id", first.line);
            let mut repeat = self.described(row, Verdict::Duplicate, Some(How::Id), None, Some(note));
            repeat.state = if is_same { RowState::Over } else { RowState::Found };
            found.push(repeat);
        }
        found.iter().for_each(|row| self.counts.add(row.verdict));
        self.found.extend(found);
    }

    fn described(
        &self,
        row: &Row,
        verdict: Verdict,
        how: Option<How>,
        story: Option<&Story>,
        note: Option<String>,
    ) -> kept::Row {
        let of_currency =
            |sums: &[(Code, Amount)]| sums.iter().find(|(code, _)| *code == row.currency).map(|(_, sum)| *sum);
        kept::Row {
            ordinal: 0,
            verdict,
            how,
            state: if verdict == Verdict::Matched { RowState::Over } else { RowState::Found },
            family: row.family,
            line: Some(i64::from(row.line)),
            ext_id: self.paper.id(row),
            currency: self.paper.currencies.name(row.currency).to_owned(),
            theirs: Some(row.amount),
            ours: story.and_then(|story| of_currency(&story.sums)),
            their_fee: row.has_fee.then_some(row.fee),
            our_fee: story.and_then(|story| of_currency(&story.fees)),
            their_status: Some(self.paper.status(row)),
            our_status: story.map(|story| story.ours.status),
            note,
            payment: story.map(|story| story.ours.payment),
            callback: None,
            discrepancy: None,
        }
    }
}
