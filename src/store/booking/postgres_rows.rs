//! Rows as PostgreSQL takes them: each one value of a composite type (`booking_…`, see the migration of that name) in its
//! binary form, and all rows for a table one parameter. The columns stand in the order of their type.

use sqlx::encode::{Encode, IsNull};
use sqlx::error::BoxDynError;
use sqlx::postgres::{PgArgumentBuffer, PgHasArrayType, PgTypeInfo};
use sqlx::{Postgres, Type};

use super::{AccountKey, Arrival, Key, PaymentRow, ReferenceKey, Verdict, join_txids};
use crate::domain::amount::Amount;
use crate::domain::ids::{AccountId, CustomerId, MerchantId};
use crate::domain::journal::{Booked, Entry};
use crate::domain::reason::Reason;

macro_rules! composite {
    ($name:ident as $type:literal, $value:ty, $row:pat => $($column:expr),* $(,)?) => {
        pub(super) struct $name<'r>(pub &'r $value);

        impl Type<Postgres> for $name<'_> {
            fn type_info() -> PgTypeInfo {
                PgTypeInfo::with_name($type)
            }
        }

        impl PgHasArrayType for $name<'_> {
            fn array_type_info() -> PgTypeInfo {
                PgTypeInfo::array_of($type)
            }
        }

        impl Encode<'_, Postgres> for $name<'_> {
            fn encode_by_ref(&self, buffer: &mut PgArgumentBuffer) -> Result<IsNull, BoxDynError> {
                let $row = self.0;
                let mut record = Record::begin(buffer);
                $(record.put($column)?;)*
                record.end()
            }
        }
    };
}

composite!(KeyRow as "booking_key", Key<'r>, key =>
    key.merchant.0,
    key.locality,
    key.digest.as_slice(),
    key.family.code(),
    key.ext_id,
    key.fingerprint,
);

composite!(CallbackRow as "booking_callback", (Arrival<'r>, Verdict), (a, v) =>
    v.id.0,
    a.merchant.0,
    a.head.family().code(),
    v.state.code(),
    v.reason.map(Reason::code),
    v.policy,
    v.entries,
    a.locality,
    v.turn,
    v.position,
    v.payment.map(|id| id.0),
    v.customer.map(|id| id.0),
    a.received_us,
    v.decided_us,
    a.digest.as_slice(),
    a.signature.as_slice(),
    a.head.kind.as_deref(),
    a.head.status.as_deref(),
    a.head.payment_id.as_deref(),
    a.head.foreign_id.as_deref(),
    a.head.end_user_reference.as_deref(),
    a.head.address.as_deref(),
    join_txids(a.head).as_deref(),
    v.detail.as_deref(),
    a.headers,
    a.body,
    a.origin.code(),
);

composite!(PaymentsRow as "booking_payment", PaymentRow, row =>
    row.id.0,
    row.merchant.0,
    row.family.code(),
    row.status.code(),
    row.facts,
    row.fingerprint,
    row.customer.map(|id| id.0),
    row.ext_id.as_str(),
);

composite!(EntryRow as "booking_entry", (Entry, [u8; 32]), (entry, hash) =>
    entry.position,
    entry.merchant.0,
    entry.event.code(),
    entry.effect.code(),
    entry.reason.map(Reason::code),
    i16::try_from(entry.postings.len())?,
    entry.subject,
    entry.callback.0,
    entry.payment.map(|id| id.0),
    entry.customer.map(|id| id.0),
    entry.at_us,
    hash.as_slice(),
    entry.currency.as_deref(),
    entry.amount,
    entry.fee,
    entry.balance_after,
    List(&entry.postings, |posting| posting.debit.0),
    List(&entry.postings, |posting| posting.credit.0),
    List(&entry.postings, |posting| posting.amount),
);

composite!(BalanceRow as "booking_balance", (AccountId, Amount), (id, balance) => id.0, *balance);

composite!(CustomerRow as "booking_customer", (CustomerId, MerchantId, String), (id, merchant, name) =>
    id.0,
    merchant.0,
    name.as_str(),
);

composite!(ReferenceRow as "booking_reference", (ReferenceKey, CustomerId), (key, id) =>
    key.merchant.0,
    key.kind.code(),
    key.value.as_str(),
    id.0,
);

composite!(AccountRow as "booking_account", (AccountId, AccountKey, Amount), (id, key, balance) =>
    id.0,
    key.merchant.0,
    key.kind.code(),
    key.customer.map_or(0, |id| id.0),
    key.currency.as_str(),
    *balance,
);

/// A composite value under way: how many columns, and of each its type, its length and its bytes.
struct Record<'b> {
    buffer: &'b mut Vec<u8>,
    start: usize,
    columns: i32,
}

impl<'b> Record<'b> {
    fn begin(buffer: &'b mut Vec<u8>) -> Self {
        let start = buffer.len();
        buffer.extend_from_slice(&0_i32.to_be_bytes());
        Self { buffer, start, columns: 0 }
    }

    fn put<C: Column>(&mut self, column: C) -> Result<(), BoxDynError> {
        self.columns = self.columns.saturating_add(1);
        self.buffer.extend_from_slice(&C::OID.to_be_bytes());
        let place = self.buffer.len();
        self.buffer.extend_from_slice(&NULL.to_be_bytes());
        let begins = self.buffer.len();
        if column.write(self.buffer) {
            let length = i32::try_from(self.buffer.len().saturating_sub(begins))?;
            overwrite(self.buffer, place, length);
        }
        Ok(())
    }

    fn end(self) -> Result<IsNull, BoxDynError> {
        overwrite(self.buffer, self.start, self.columns);
        Ok(IsNull::No)
    }
}

/// The length of a column without a value.
const NULL: i32 = -1;

fn overwrite(buffer: &mut [u8], place: usize, number: i32) {
    if let Some(bytes) = buffer.get_mut(place..).and_then(<[u8]>::first_chunk_mut) {
        *bytes = number.to_be_bytes();
    }
}

/// What may stand in a column.
trait Column {
    /// PostgreSQL's number of the type: these are the same in every database.
    const OID: u32;

    /// Whether there is a value.
    fn write(self, out: &mut Vec<u8>) -> bool;
}

macro_rules! columns {
    ($($type:ty = $oid:literal, |$value:ident| $bytes:expr;)*) => {
        $(impl Column for $type {
            const OID: u32 = $oid;

            fn write(self, out: &mut Vec<u8>) -> bool {
                let $value = self;
                out.extend_from_slice(&$bytes[..]);
                true
            }
        })*
    };
}

columns! {
    i16 = 21, |number| number.to_be_bytes();
    i64 = 20, |number| number.to_be_bytes();
    &[u8] = 17, |bytes| bytes;
    &str = 25, |text| text.as_bytes();
}

impl<C: Column> Column for Option<C> {
    const OID: u32 = C::OID;

    fn write(self, out: &mut Vec<u8>) -> bool {
        self.is_some_and(|value| value.write(out))
    }
}

/// What may stand in a list.
trait Listed: Column {
    /// PostgreSQL's number of the array.
    const LIST_OID: u32;
}

impl Listed for i64 {
    const LIST_OID: u32 = 1016;
}

impl Listed for Amount {
    const LIST_OID: u32 = 1231;
}

/// One thing of each posting, as an array; of none, NULL.
struct List<'p, C>(&'p [Booked], fn(&Booked) -> C);

impl<C: Listed> Column for List<'_, C> {
    const OID: u32 = C::LIST_OID;

    /// How many dimensions, that none of it is NULL, the type, how many, the number of the first, and each with its length.
    fn write(self, out: &mut Vec<u8>) -> bool {
        let Self(postings, one) = self;
        if postings.is_empty() {
            return false;
        }
        let count = i32::try_from(postings.len()).unwrap_or_default();
        for number in [1, 0, C::OID.cast_signed(), count, 1] {
            out.extend_from_slice(&number.to_be_bytes());
        }
        for posting in postings {
            let place = out.len();
            out.extend_from_slice(&NULL.to_be_bytes());
            one(posting).write(out);
            let length = out.len().saturating_sub(place).saturating_sub(size_of::<i32>());
            overwrite(out, place, i32::try_from(length).unwrap_or_default());
        }
        true
    }
}

/// Groups of four digits before the point, and after it.
const GROUPS: usize = 5;

impl Column for Amount {
    const OID: u32 = 1700;

    /// How many groups of four digits, the place of the first, the sign, the decimals to show, the groups.
    fn write(self, out: &mut Vec<u8>) -> bool {
        let one = 10_u128.pow(18);
        let size = self.units().unsigned_abs();
        let mut groups = [0_u16; 2 * GROUPS];
        let (whole, fraction) = groups.split_at_mut(GROUPS);
        split(whole, size.div_euclid(one));
        split(fraction, size.rem_euclid(one).saturating_mul(100));
        let leading = groups.iter().take_while(|group| **group == 0).count();
        let trailing = groups.iter().rev().take_while(|group| **group == 0).count();
        let groups = groups.get(leading..groups.len().saturating_sub(trailing)).unwrap_or_default();
        let count = u16::try_from(groups.len()).unwrap_or_default();
        let first = i16::try_from(leading).map_or(0, |leading| 4_i16.saturating_sub(leading));
        let sign: u16 = if self.units() < 0 { 0x4000 } else { 0 };
        for number in [count.to_be_bytes(), first.to_be_bytes(), sign.to_be_bytes(), 18_u16.to_be_bytes()] {
            out.extend_from_slice(&number);
        }
        groups.iter().for_each(|group| out.extend_from_slice(&group.to_be_bytes()));
        true
    }
}

/// The last `groups.len()` groups of four digits.
fn split(groups: &mut [u16], mut number: u128) {
    for group in groups.iter_mut().rev() {
        *group = u16::try_from(number.rem_euclid(10_000)).unwrap_or_default();
        number = number.div_euclid(10_000);
    }
}
