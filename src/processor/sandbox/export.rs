//! The dashboard's export of transactions: CSV after RFC 4180, a line for each operation, oldest first. It always tells
//! the truth.

use super::currencies::printed;
use super::operation::{Kind, Operation};
use super::world::World;
use crate::domain::amount::Amount;

/// The head of the file.
const COLUMNS: [&str; 12] = [
    "id",
    "foreign_id",
    "type",
    "status",
    "currency",
    "amount",
    "fee",
    "txid",
    "address",
    "end_user_reference",
    "created_at",
    "updated_at",
];

impl World {
    /// The transactions of one merchant by its key, or of all.
    pub fn export(&self, key: Option<&str>) -> String {
        let is_asked = |operation: &&Operation| {
            let merchant = self.merchants.get(operation.merchant);
            key.is_none_or(|key| merchant.is_some_and(|merchant| merchant.key == key))
        };
        let lines = self.operations.values().filter(is_asked).map(|operation| line(&operation.exported()));
        std::iter::once(line(&COLUMNS.map(str::to_owned))).chain(lines).collect()
    }
}

impl Operation {
    /// What moved on the account: what is received of deposits and invoices, what is sent of the others.
    fn exported(&self) -> [String; 12] {
        let money = if self.kind.is_deposit() || self.kind == Kind::Invoice { &self.received } else { &self.sent };
        let place = self.place.as_ref();
        let foreign_id = place.filter(|_| self.kind.is_deposit()).and_then(|place| place.foreign_id.as_ref());
        let foreign_id = foreign_id.or(self.foreign_id.as_ref()).cloned().unwrap_or_default();
        let fee = if self.status.is_final() { self.fees_in(&money.currency) } else { Amount::ZERO };
        [
            self.id.to_string(),
            foreign_id,
            self.kind.word().to_owned(),
            self.status.word().to_owned(),
            money.currency.clone(),
            printed(money.amount),
            printed(fee),
            self.parts.iter().find_map(|part| part.txid.clone()).unwrap_or_default(),
            place.map(|place| place.address.clone()).unwrap_or_default(),
            self.user.clone().unwrap_or_default(),
            moment(self.created_us),
            moment(self.updated_us),
        ]
    }
}

fn line(cells: &[String]) -> String {
    let cells: Vec<String> = cells.iter().map(|cell| quoted(cell)).collect();
    format!("{}\r\n", cells.join(","))
}

fn quoted(cell: &str) -> String {
    if cell.contains(['"', ',', '\r', '\n']) {
        return format!("\"{}\"", cell.replace('"', "\"\""));
    }
    cell.to_owned()
}

/// `YYYY-MM-DD HH:MM:SS` in UTC.
fn moment(at_us: i64) -> String {
    let Ok(at) = time::OffsetDateTime::from_unix_timestamp(at_us.div_euclid(1_000_000)) else { return String::new() };
    let (date, time) = (at.date(), at.time());
    let (year, month, day) = (date.year(), u8::from(date.month()), date.day());
    format!("{year:04}-{month:02}-{day:02} {:02}:{:02}:{:02}", time.hour(), time.minute(), time.second())
}
