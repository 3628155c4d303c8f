//! Balances as `ledger balances` prints them, against what the credited bodies add up to. Whole
//! numbers of 10^-18 all the way.

use std::collections::{BTreeMap, HashMap};

use anyhow::{Context as _, Result, ensure};
use serde::Deserialize;

use super::{Sent, Verdict};
use crate::body::{Crowd, Money, foreign_id};
use crate::product::{Deployment, said};

#[derive(Deserialize)]
struct Balance {
    merchant: String,
    kind: String,
    customer: Option<serde_json::Value>,
    currency: String,
    balance: String,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Balances {
    Bare(Vec<Balance>),
    Wrapped { data: Vec<Balance> },
}

pub(super) async fn compare(
    deployment: &Deployment,
    sent: &Sent,
    credited: &[u8],
    verdict: &mut Verdict,
) -> Result<()> {
    let limit = (sent.crowd.customers * 2 + sent.crowd.merchants * 8).to_string();
    let output = deployment.run(&["ledger", "balances", "--output", "json", "--limit", &limit]).await?;
    ensure!(output.status.success(), "tallyhook ledger balances failed:\n{}", said(&output));
    let parsed = serde_json::from_slice(&output.stdout).context("what ledger balances printed is not as documented")?;
    let (Balances::Bare(rows) | Balances::Wrapped { data: rows }) = parsed;
    let mut found = HashMap::new();
    let mut sums = BTreeMap::<&str, i128>::new();
    for row in &rows {
        let amount = minor_units(&row.balance).with_context(|| format!("balance {:?}", row.balance))?;
        let debit = matches!(row.kind.as_str(), "processor" | "fees");
        *sums.entry(&row.currency).or_default() += if debit { amount } else { -amount };
        let who = row.customer.as_ref().map_or(String::new(), customer_name);
        let key = (row.merchant.to_lowercase(), row.kind.clone(), who);
        if found.insert(key, amount).is_some() {
            verdict.wrong(|| format!("two balances of {} {} {:?}", row.merchant, row.kind, row.customer));
        }
    }
    for (currency, sum) in sums.into_iter().filter(|(_, sum)| *sum != 0) {
        verdict.wrong(|| format!("the ledger sums to {sum} of 10^-18 {currency}"));
    }
    let expected = expected(sent.crowd, credited);
    found.retain(|key, amount| *amount != 0 || expected.contains_key(key));
    if found != expected {
        let differs = |key: &&(String, String, String)| found.get(*key) != expected.get(*key);
        let first = expected.keys().chain(found.keys()).find(differs);
        let amounts = first.map(|key| (key, found.get(key), expected.get(key)));
        verdict.wrong(|| format!("balances differ, first (account, found, expected): {amounts:?}"));
    }
    Ok(())
}

/// A customer is named by its `end_user_reference` when it has one, else by its `foreign_id`; which
/// of the two a balance shows does not matter here, as one is the end of the other.
fn customer_name(value: &serde_json::Value) -> String {
    let name = value.as_str().or_else(|| value.get("foreign_id")?.as_str()).unwrap_or_default();
    let digits = name.strip_prefix("player-").unwrap_or(name);
    digits.parse().map_or_else(|_| name.to_owned(), foreign_id)
}

/// Policy `gross`: the customer gets the whole amount, the fee is the merchant's.
fn expected(crowd: Crowd, credited: &[u8]) -> HashMap<(String, String, String), i128> {
    let mut all = HashMap::new();
    let mut add = |merchant: u64, kind: &str, customer: String, amount: u64| {
        let name = if crowd.merchants == 1 { "main".to_owned() } else { format!("m{merchant:02}") };
        *all.entry((name, kind.to_owned(), customer)).or_insert(0_i128) += satoshi(amount);
    };
    for index in (0_u64..).zip(credited).filter(|(_, count)| **count > 0).map(|(index, _)| index) {
        let (money, merchant) = (Money::of(index), crowd.merchant(index));
        add(merchant, "processor", String::new(), money.minus_fee());
        add(merchant, "fees", String::new(), money.fee);
        add(merchant, "available", foreign_id(crowd.customer(index)), money.amount);
    }
    all
}

pub(super) fn satoshi(amount: u64) -> i128 {
    i128::from(amount) * 10_i128.pow(10)
}

/// A decimal string in units of 10^-18. No float on the way.
pub(super) fn minor_units(text: &str) -> Option<i128> {
    let (sign, digits) = text.strip_prefix('-').map_or((1, text), |rest| (-1, rest));
    let (whole, part) = digits.split_once('.').unwrap_or((digits, ""));
    if whole.is_empty() || part.len() > 18 || !part.bytes().chain(whole.bytes()).all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let part: i128 = format!("{part:0<18}").parse().ok()?;
    Some(sign * (whole.parse::<i128>().ok()?.checked_mul(10_i128.pow(18))?.checked_add(part)?))
}

#[cfg(test)]
mod tests {
    use super::minor_units;

    #[test]
    fn amounts_are_read_exactly_or_not_at_all() {
        assert_eq!(minor_units("0.06531575"), Some(65_315_750_000_000_000));
        assert_eq!(minor_units("-1"), Some(-1_000_000_000_000_000_000));
        assert_eq!(
            minor_units("99999999999999999999.999999999999999999"),
            Some(99_999_999_999_999_999_999_999_999_999_999_999_999)
        );
        for bad in ["", ".5", "1e3", "1.0000000000000000001", "+1", "1_0", "--1"] {
            assert_eq!(minor_units(bad), None, "{bad}");
        }
    }
}
