//! Why a callback was ignored, held, or booked to suspense: one list, with the word others read and the number we store.

use super::policy::Waived;

macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident = $code:literal, $word:literal;)*) => {
        /// A stable word for what became of a callback. The number is what the database stores.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Reason {
            $($(#[$doc])* $name,)*
        }

        impl Reason {
            /// Every reason there is.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The number the database stores.
            pub const fn code(self) -> i16 {
                match self { $(Self::$name => $code,)* }
            }

            /// The word used outside.
            pub const fn word(self) -> &'static str {
                match self { $(Self::$name => $word,)* }
            }
        }
    };
}

reasons! {
    // Ignored: it says nothing new.
    /// The same status again, with the same money.
    Repeat = 1, "repeat";
    /// Not final, but a final one is already booked.
    Stale = 2, "stale";
    /// It was held, and an operator decided that it books nothing.
    Dismissed = 3, "dismissed";
    /// It was held, and its money was booked by hand instead.
    Corrected = 4, "corrected";

    // Held: nothing booked, an operator decides.
    /// Not JSON we can read exactly: broken, duplicate keys, too deep, an amount that does not fit.
    Unreadable = 20, "unreadable";
    /// A `type` we do not know.
    UnknownType = 21, "unknown_type";
    /// A `status` we do not know for this type.
    UnknownStatus = 22, "unknown_status";
    /// The obsolete flat format.
    V1Shape = 23, "v1_shape";
    /// A payment request that is no longer in progress: its full shape is not published.
    PaymentRequest = 24, "payment_request";
    /// `confirmed` together with an error text.
    ConfirmedWithError = 25, "confirmed_with_error";
    /// A final status, or final money, that differs from the one already booked.
    ContradictsFinal = 26, "contradicts_final";
    /// Same txid, address and amount as another booked payment.
    PossibleDuplicate = 27, "possible_duplicate";
    /// An invoice that is confirmed but not paid in full.
    InvoiceRemaining = 28, "invoice_remaining";
    /// The body does not say exactly one amount.
    AmountUnclear = 29, "amount_unclear";
    /// Zero or negative, or a fee larger than the amount.
    AmountOutOfRange = 30, "amount_out_of_range";
    /// A withdrawal that names no customer we know.
    UnknownCustomer = 31, "unknown_customer";
    /// A rate-fixed deposit of the discontinued futures product.
    LegacyFutures = 32, "legacy_futures";
    /// A balance would reach 10^20.
    BalanceLimit = 33, "balance_limit";
    /// A withdrawal of another amount or currency, to another address or of another customer than was requested through us.
    ContradictsRequest = 34, "contradicts_request";
    /// More than the merchant books on a callback's word: the processor is asked first.
    AwaitsVerification = 36, "awaits_verification";
    /// A deposit to an address that was given up before it was first heard of.
    AddressRetired = 40, "address_retired";

    // Booked, but to suspense.
    /// The references belong to two different customers.
    CustomerContradictory = 50, "customer_contradictory";
    /// The references are unknown and the merchant's policy is `suspense`.
    CustomerUnknown = 51, "customer_unknown";
    /// The body names no customer at all.
    CustomerMissing = 52, "customer_missing";
    /// The transaction paid to another address than the one the callback is about.
    AddressContradictory = 53, "address_contradictory";
    /// The risk score is over the merchant's limit, or can't be read while there is a limit.
    RiskScore = 54, "risk_score";
    /// A pool address that nobody's window holds at that moment.
    PoolUnclaimed = 55, "pool_unclaimed";
    /// A pool address that two requests could claim the deposit to.
    PoolContested = 56, "pool_contested";

    // Found by reconciliation: nothing is booked, someone looks.
    /// The processor holds more than we know of: a credit was lost.
    BalanceSurplus = 60, "balance_surplus";
    /// The processor holds less than we think: a false credit, or money that went out without our knowing.
    BalanceDeficit = 61, "balance_deficit";
    /// A payment that is overdue, and that the processor knows nothing of.
    UnknownThere = 65, "unknown_to_processor";
    /// Callbacks could not be received for so long that some can't come back by themselves.
    Outage = 66, "outage";
    /// A deposit that waits for its verification is not what the processor says.
    VerificationDiffers = 67, "verification_differs";
    /// A withdrawal went out, and the processor has known nothing of it for long.
    WithdrawalMissing = 68, "withdrawal_missing";
    /// The dashboard's export has a payment that the ledger has not, and the processor does not tell it when asked.
    ExportMissingHere = 70, "export_missing_here";
    /// The ledger has money of a payment that the export, which covers its time, has not.
    ExportMissingThere = 71, "export_missing_there";
    /// The export has another amount or currency.
    ExportAmount = 72, "export_amount";
    /// The export has another fee.
    ExportFee = 73, "export_fee";
    /// The export has another status.
    ExportStatus = 74, "export_status";
    /// The export has the same id twice, with different rows.
    ExportDuplicate = 75, "export_duplicate";

    // Failed: the worker tries again.
    /// The database refused this callback; the error is kept beside it.
    BookingFailed = 80, "booking_failed";

    // Declined: an order that changed nothing, not even a row.
    /// The customer does not have as much.
    InsufficientBalance = 100, "insufficient_balance";
    /// There is a withdrawal of that name already.
    ForeignIdTaken = 101, "foreign_id_taken";
    /// What was to be settled is settled already, or is nothing that this can settle.
    NotOpen = 102, "not_open";
    /// There is no such thing.
    NotFound = 103, "not_found";
}

impl Reason {
    /// Whether a person ended what was held, so that deciding it again means nothing.
    pub const fn is_by_hand(self) -> bool {
        matches!(self, Self::Dismissed | Self::Corrected)
    }

    /// Whether an operator may book what this reason holds. The others say that nothing can be booked as it stands.
    pub const fn can_be_waived(self) -> bool {
        !Waived::of(self).is_nothing()
    }

    /// The reason a stored number names.
    pub fn from_code(code: i16) -> Option<Self> {
        Self::ALL.iter().copied().find(|reason| reason.code() == code)
    }
}
