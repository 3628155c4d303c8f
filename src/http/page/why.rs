//! What a reason means for the person who reads it, and what helps.

use crate::domain::reason::Reason;

const NOT_REQUESTED: &str = "Not the amount, the currency, the address or the customer that was requested through \
    Tallyhook. It may be an older withdrawal of the same name: then dismiss it, and the request can be given back once it \
    is missing. Booked anyway, it is what became of the request.";

/// One or two sentences, or what to do in one more.
pub(super) const fn sentence(reason: Reason) -> &'static str {
    match reason {
        Reason::Repeat => "It says what an earlier callback said, with the same money.",
        Reason::Stale => "A final status is booked already; this one is from before it.",
        Reason::Dismissed => "It was held, and an operator decided that it books nothing.",
        Reason::Corrected => "It was held, and people booked its money by hand instead. Its payment is over.",
        Reason::Unreadable => "The body is not JSON that can be read exactly. Ask AlphaPo what it should have been.",
        Reason::UnknownType => "A type that Tallyhook does not know. Look for a newer version, or ask AlphaPo.",
        Reason::UnknownStatus => "A status that this type is not known to have. Look at the payment at AlphaPo.",
        Reason::V1Shape => "The obsolete format. Ask AlphaPo to send the current one.",
        Reason::PaymentRequest => "A payment request past `in progress`: what it looks like is not published.",
        Reason::ConfirmedWithError => "Confirmed, and yet with an error text. Look at the payment at AlphaPo first.",
        Reason::ContradictsFinal => {
            "Another final status or other money is booked already. Money never moves back by itself: compare with AlphaPo."
        }
        Reason::PossibleDuplicate => {
            "Another payment has the same transaction, address and amount. Book it only if AlphaPo says both are real."
        }
        Reason::InvoiceRemaining => "The invoice is confirmed but not paid in full.",
        Reason::AmountUnclear => "The body does not say exactly one amount.",
        Reason::AmountOutOfRange => "The amount is zero or negative, or the fee is larger than it.",
        Reason::UnknownCustomer => {
            "A withdrawal of a customer nobody has seen. Once the customer is known, a replay books it."
        }
        Reason::LegacyFutures => "A deposit of a product that AlphaPo has discontinued.",
        Reason::BalanceLimit => "A balance would become too large to be kept exactly.",
        Reason::ContradictsRequest => NOT_REQUESTED,
        Reason::AwaitsVerification => {
            "More than is booked on a callback's word: AlphaPo is asked, and it is booked once the answer says the same."
        }
        Reason::AddressRetired => "It came to an address that was given up. Book it if AlphaPo has the money.",
        Reason::CustomerContradictory => "The references belong to two customers, so the money waits in suspense.",
        Reason::CustomerUnknown => "The customer is unknown and may not be opened, so the money waits in suspense.",
        Reason::CustomerMissing => "The body names no customer at all, so the money waits in suspense.",
        Reason::AddressContradictory => {
            "The coins went to another address than the callback's; the money is in suspense."
        }
        Reason::RiskScore => "The risk score is over the merchant's limit, so the money waits in suspense.",
        Reason::PoolUnclaimed => "It came to an address of the pool that nobody waits for, so it is in suspense.",
        Reason::PoolContested => "Two requests could claim what came to this pool address, so it is in suspense.",
        Reason::BalanceSurplus => {
            "AlphaPo holds more than the ledger says: a callback is missing, or money came in unseen. Compare with AlphaPo."
        }
        Reason::BalanceDeficit => {
            "AlphaPo holds less than the ledger says: a false credit, or money went out unseen. Compare with AlphaPo."
        }
        Reason::UnknownThere => {
            "It should be over by now, and AlphaPo says that it knows nothing of it. Look for it in the dashboard."
        }
        Reason::Outage => {
            "Nothing could be received for so long that AlphaPo has given up repeating some callbacks. Import its export."
        }
        Reason::VerificationDiffers => {
            "AlphaPo's own answer differs from the callback. Someone may know the signing secret: ask AlphaPo."
        }
        Reason::WithdrawalMissing => {
            "It went out, and AlphaPo has known nothing of it for long. Ask AlphaPo, then refund or conclude the withdrawal."
        }
        Reason::ExportMissingHere => "AlphaPo's export has it, the ledger has not, and asking told nothing.",
        Reason::ExportMissingThere => "The ledger has money that AlphaPo's export should have and has not.",
        Reason::ExportAmount => "AlphaPo's export has another amount or currency than the ledger.",
        Reason::ExportFee => "AlphaPo's export has another fee than the ledger.",
        Reason::ExportStatus => "AlphaPo's export has another status than the ledger.",
        Reason::ExportDuplicate => "AlphaPo's export has the same id twice, with different rows.",
        Reason::BookingFailed => "The database refused it. It is tried again by itself; the error is kept.",
        Reason::InsufficientBalance => "The customer does not have as much.",
        Reason::ForeignIdTaken => "There is a withdrawal of that name already.",
        Reason::NotOpen => "What was to be settled is settled already, or can't be settled this way.",
        Reason::NotFound => "There is no such thing.",
    }
}
