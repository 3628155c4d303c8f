//! An export of the processor's dashboard beside the ledger: what a row of it means for the payment of the same id. Pure.
//! Rows are small, so that a million of them fit into memory; what they can't hold is asked for where a closer look is
//! needed.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use super::amount::Amount;
use super::ids::PaymentId;
use super::payment::{Family, Phase, Status, phase};

/// What a row, or a payment without one, came to. The number is what the database stores.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Verdict {
    Matched,
    /// The export has it, the ledger does not.
    MissingHere,
    /// The ledger has it, the export does not although it covers its time.
    MissingThere,
    Amount,
    Fee,
    Status,
    /// The export has it twice.
    Duplicate,
}

impl Verdict {
    pub const ALL: [Self; 7] =
        [Self::Matched, Self::MissingHere, Self::MissingThere, Self::Amount, Self::Fee, Self::Status, Self::Duplicate];

    /// The number the database stores.
    pub const fn code(self) -> i16 {
        match self {
            Self::Matched => 1,
            Self::MissingHere => 2,
            Self::MissingThere => 3,
            Self::Amount => 4,
            Self::Fee => 5,
            Self::Status => 6,
            Self::Duplicate => 7,
        }
    }

    /// The word used outside.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Matched => "matched",
            Self::MissingHere => "missing_here",
            Self::MissingThere => "missing_there",
            Self::Amount => "amount",
            Self::Fee => "fee",
            Self::Status => "status",
            Self::Duplicate => "duplicate",
        }
    }

    /// The verdict a stored number names.
    pub fn from_code(code: i16) -> Option<Self> {
        Self::ALL.into_iter().find(|verdict| verdict.code() == code)
    }
}

/// A currency as a small number, see [`Currencies`].
pub type Code = u16;

/// Numbers for the names of currencies.
#[derive(Debug, Default)]
pub struct Currencies {
    names: Vec<String>,
    codes: HashMap<String, Code>,
}

impl Currencies {
    /// The number of a name. What is beyond 65,535 names shares the last one.
    pub fn code(&mut self, name: &str) -> Code {
        if let Some(code) = self.codes.get(name) {
            return *code;
        }
        let code = Code::try_from(self.names.len()).unwrap_or(Code::MAX);
        self.names.push(name.to_owned());
        self.codes.insert(name.to_owned(), code);
        code
    }

    pub fn name(&self, code: Code) -> &str {
        self.names.get(usize::from(code)).map_or("", String::as_str)
    }
}

/// A row of the export.
#[derive(Debug, Clone)]
pub struct Row {
    /// Of the payment's id: see [`name_of`].
    pub name: u64,
    pub amount: Amount,
    /// Nothing where [`Row::has_fee`] is not set.
    pub fee: Amount,
    pub at_us: i64,
    /// Of txid and address: see [`transaction_of`].
    pub transaction: Option<std::num::NonZeroU64>,
    /// Of the merchant's reference: see [`reference_of`].
    pub reference: Option<std::num::NonZeroU64>,
    pub line: u32,
    pub currency: Code,
    pub family: Family,
    /// `None`: a word that we do not know.
    pub status: Option<Status>,
    pub has_fee: bool,
}

/// A payment as the ledger has it, as far as most rows need it.
#[derive(Debug, Clone)]
pub struct Ours {
    pub payment: PaymentId,
    pub family: Family,
    pub status: Status,
    /// When it was first heard of, and when its status was decided.
    pub seen_us: i64,
    pub decided_us: i64,
    /// Currency, amount before fees, and fee, once money moved.
    pub money: Option<(Code, Amount, Amount)>,
}

/// The same with everything that its last callback told.
#[derive(Debug, Clone)]
pub struct Story {
    pub ours: Ours,
    /// The processor's id.
    pub id: String,
    /// What was sent and received: one of them is what a row tells.
    pub sums: Vec<(Code, Amount)>,
    /// What may count as the fee: by its name, or as what is missing of the sum.
    pub fees: Vec<(Code, Amount)>,
    pub transactions: Vec<std::num::NonZeroU64>,
    pub reference: Option<std::num::NonZeroU64>,
}

/// How exact is exact.
#[derive(Debug, Clone, Copy)]
pub struct Rules {
    /// By how much amounts may differ where no id says that they are the same.
    pub amount: Amount,
    /// By how much times may.
    pub time_us: i64,
    /// What the export covers.
    pub from_us: i64,
    pub until_us: i64,
}

/// What can be told without a closer look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sight {
    Matched,
    Closer,
}

/// The row and the payment of the same id, at first sight.
pub fn at_first_sight(row: &Row, ours: &Ours, rules: &Rules) -> Sight {
    let is_same = match (standing(row, ours, rules), ours.money) {
        (Standing::Same, _) => true,
        (Standing::Confirmed, Some((currency, amount, fee))) => {
            row.currency == currency && row.amount == amount && (!row.has_fee || row.fee == fee)
        }
        (Standing::Confirmed, None) | (Standing::Differs, _) => false,
    };
    if is_same { Sight::Matched } else { Sight::Closer }
}

/// The row and the payment, with all that is known. `tolerance`: by how much the amounts may differ.
pub fn compare(row: &Row, story: &Story, rules: &Rules, tolerance: Amount) -> Verdict {
    match standing(row, &story.ours, rules) {
        Standing::Differs => Verdict::Status,
        Standing::Same => Verdict::Matched,
        Standing::Confirmed => {
            let of_currency = |sums: &[(Code, Amount)], amount: Amount, tolerance: Amount| {
                sums.iter().any(|(code, sum)| *code == row.currency && is_near(*sum, amount, tolerance))
            };
            if !of_currency(&story.sums, row.amount, tolerance) {
                return Verdict::Amount;
            }
            let is_free = row.fee.is_zero() && !story.fees.iter().any(|(code, _)| *code == row.currency);
            if !row.has_fee || is_free || of_currency(&story.fees, row.fee, Amount::ZERO) {
                Verdict::Matched
            } else {
                Verdict::Fee
            }
        }
    }
}

/// Whether our payment is behind: the processor knows its end and we do not, so it can be asked.
pub fn is_behind(row: &Row, ours: &Ours) -> bool {
    let theirs = row.status.map(|status| phase(row.family, status));
    phase(ours.family, ours.status) == Phase::InProgress && matches!(theirs, Some(Phase::Confirmed | Phase::Closed))
}

/// Whether two amounts are the same but for a tolerance.
pub fn is_near(left: Amount, right: Amount, tolerance: Amount) -> bool {
    left == right || left.checked_sub(right).is_some_and(|gap| gap <= tolerance && gap.negated() <= tolerance)
}

enum Standing {
    /// Both say that money moved: then it must be the same money.
    Confirmed,
    Same,
    Differs,
}

fn standing(row: &Row, ours: &Ours, rules: &Rules) -> Standing {
    let Some(theirs) = row.status else { return Standing::Differs };
    match (phase(row.family, theirs), phase(ours.family, ours.status)) {
        (Phase::Confirmed, Phase::Confirmed) => Standing::Confirmed,
        (Phase::InProgress, Phase::InProgress) => Standing::Same,
        // The export was made before the end was known; unless the end was told long before the export was made.
        (Phase::InProgress, Phase::Confirmed | Phase::Closed) => {
            let is_recent = ours.decided_us.saturating_add(rules.time_us) >= rules.until_us;
            if is_recent { Standing::Same } else { Standing::Differs }
        }
        _ if theirs == ours.status => Standing::Same,
        _ => Standing::Differs,
    }
}

/// A number for a payment's id: the id itself where it is a plain number, else a digest of it.
pub fn name_of(id: &str) -> u64 {
    let is_plain = id.bytes().all(|byte| byte.is_ascii_digit()) && (id.len() == 1 || !id.starts_with('0'));
    let number = id.parse::<u64>().ok().filter(|number| is_plain && *number < TEXT);
    number.unwrap_or_else(|| digest(&("id", id)) | TEXT)
}

/// The id that a number stands for, unless it is a digest.
pub fn id_of(name: u64) -> Option<String> {
    (name < TEXT).then(|| name.to_string())
}

const TEXT: u64 = 1 << 63;

/// A number for the coins of a transaction that went to an address.
pub fn transaction_of(txid: &str, address: &str) -> Option<std::num::NonZeroU64> {
    let digest = digest(&("transaction", txid.to_ascii_lowercase(), address));
    std::num::NonZeroU64::new(digest).filter(|_| !txid.is_empty())
}

/// A number for what the merchant calls the address or the request.
pub fn reference_of(family: Family, foreign_id: &str) -> Option<std::num::NonZeroU64> {
    std::num::NonZeroU64::new(digest(&("reference", family.code(), foreign_id))).filter(|_| !foreign_id.is_empty())
}

fn digest(value: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

/// The rows of an export, found by family and id.
#[derive(Debug)]
pub struct Rows {
    rows: Vec<Row>,
    is_found: Vec<bool>,
    /// Rows of an id that an earlier row has already.
    repeated: Vec<bool>,
}

impl Rows {
    /// In the order of family and id, and of lines where those are the same.
    pub fn new(mut rows: Vec<Row>) -> Self {
        rows.sort_unstable_by_key(|row| (row.family, row.name, row.line));
        let mut repeated = vec![false; rows.len()];
        for ((before, after), repeated) in rows.iter().zip(rows.iter().skip(1)).zip(repeated.iter_mut().skip(1)) {
            *repeated = (before.family, before.name) == (after.family, after.name);
        }
        Self { is_found: vec![false; rows.len()], repeated, rows }
    }

    /// The row of a payment; from now on it counts as found.
    pub fn find(&mut self, family: Family, name: u64) -> Option<(usize, &Row)> {
        let place = self.rows.partition_point(|row| (row.family, row.name) < (family, name));
        let row = self.rows.get(place).filter(|row| (row.family, row.name) == (family, name))?;
        if let Some(is_found) = self.is_found.get_mut(place) {
            *is_found = true;
        }
        Some((place, row))
    }

    pub fn get(&self, place: usize) -> Option<&Row> {
        self.rows.get(place)
    }

    pub fn len(&self) -> usize {
        self.rows.len()
    }

    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Rows whose id stands in the export a second time, each with the first of them.
    pub fn repeats(&self) -> impl Iterator<Item = (&Row, &Row)> {
        let first = |place: usize| (0..place).rev().find(|earlier| self.repeated.get(*earlier) == Some(&false));
        let places = self.repeated.iter().enumerate().filter(|(_, repeated)| **repeated);
        places.filter_map(move |(place, _)| Some((self.rows.get(first(place)?)?, self.rows.get(place)?)))
    }

    /// Rows that no payment was found for.
    pub fn lonely(&self) -> impl Iterator<Item = (usize, &Row)> {
        let is_lonely =
            |place: &usize| self.is_found.get(*place) == Some(&false) && self.repeated.get(*place) == Some(&false);
        self.rows.iter().enumerate().filter(move |(place, _)| is_lonely(place))
    }
}
