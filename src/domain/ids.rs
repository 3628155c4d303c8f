//! A type for each kind of number that names a row, so that a payment is never looked up as a callback.
//! The numbers are given out by the journal's head, one after another.

use std::fmt;

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident($inner:ty);)*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(out)
            }
        }
    )*};
}

ids! {
    /// One AlphaPo account of ours.
    MerchantId(i16);
    /// One distinct signed body.
    CallbackId(i64);
    /// What the processor's `(type family, id)` names.
    PaymentId(i64);
    /// The merchant's user.
    CustomerId(i64);
    /// (merchant, kind, customer?, currency) in the ledger.
    AccountId(i64);
}
