//! Asks the processor for invoices, under a name that is written down first. Asking again under the same name is
//! harmless: the processor makes no second one.

use crate::app::App;
use crate::booker::OrderError;
use crate::domain::customer::ReferenceKind;
use crate::domain::order::Order;
use crate::processor::client::{NewInvoice, Trouble};
use crate::store::StoreError;
use crate::store::invoices::{self, Invoice, Wanted};

/// No call is under way for so long, whatever the clocks of two replicas say.
const LONG_US: i64 = 7_200_000_000;

/// An invoice, and whether it was there before.
#[derive(Debug)]
pub struct Made {
    pub invoice: Invoice,
    pub is_replayed: bool,
}

/// Why there is no invoice.
#[derive(Debug, thiserror::Error)]
pub enum NoInvoice {
    /// The processor's own words.
    #[error("{0}")]
    Refused(String),
    /// It may be there; asking again under the same name is safe.
    #[error("nobody knows: {0}")]
    Unknown(String),
    /// It is there, but the answer that told where it is paid was lost, and nobody can have it any more.
    #[error("the processor made it, and its answer was lost")]
    Lost,
    /// The name was asked for with other values, these, and it is not known what came of that.
    #[error("asked for with another {}", .0.join(", "))]
    Differs(Vec<&'static str>),
    #[error(transparent)]
    Order(#[from] OrderError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Makes an invoice, once for each name.
pub async fn make(app: &App, wanted: &Wanted<'_>, asked: &NewInvoice) -> Result<Made, NoInvoice> {
    let is_new = invoices::add(&app.db, wanted).await?;
    let mut is_old = false;
    if !is_new && let Some(invoice) = invoices::named(&app.db, wanted.merchant, wanted.foreign_id).await? {
        if invoice.processor_id.is_some() {
            return Ok(Made { invoice, is_replayed: true });
        }
        // What the processor made then, or makes now, must be what our row says.
        let differing = invoice.differing(wanted);
        if !differing.is_empty() {
            return Err(NoInvoice::Differs(differing));
        }
        is_old = wanted.now_us.saturating_sub(invoice.created_us) > LONG_US;
    }
    // The customer is known before an invoice of theirs can be paid.
    let references = vec![(ReferenceKind::EndUserReference, asked.end_user_reference.clone())];
    app.booker.order(wanted.merchant, Order::Customer { references }).await?;
    let by = app.credentials(wanted.merchant).ok_or(OrderError::NoSeal)?;
    match app.client.create_invoice(by, asked).await {
        Ok(made) => {
            invoices::made(&app.db, wanted, &made.id, made.url.as_deref()).await?;
            let invoice = known(app, wanted).await?.ok_or_else(gone)?;
            Ok(Made { invoice, is_replayed: !is_new })
        }
        Err(Trouble::Refused(refused)) if !refused.is_about_the_foreign_id() => {
            // What came of an earlier try this refusal does not say.
            if is_new {
                invoices::forget(&app.db, wanted).await?;
            }
            Err(NoInvoice::Refused(refused.to_string()))
        }
        Err(trouble) => match known(app, wanted).await? {
            // Somebody else asked at the same time.
            Some(invoice) => Ok(Made { invoice, is_replayed: true }),
            // Its name is taken: by the first try, which is over, and whose answer never came.
            None if is_old && matches!(trouble, Trouble::Refused(_)) => Err(NoInvoice::Lost),
            None => Err(NoInvoice::Unknown(trouble.to_string())),
        },
    }
}

async fn known(app: &App, wanted: &Wanted<'_>) -> Result<Option<Invoice>, StoreError> {
    let invoice = invoices::named(&app.db, wanted.merchant, wanted.foreign_id).await?;
    Ok(invoice.filter(|invoice| invoice.processor_id.is_some()))
}

fn gone() -> NoInvoice {
    NoInvoice::Store(StoreError::Corrupt("an invoice was just there".into()))
}
