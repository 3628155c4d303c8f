//! What the members of a batch speak of, each thing once: the questions to ask before deciding.

use foldhash::HashSet;

use super::cache::Cache;
use super::plan::Member;
use crate::domain::ids::MerchantId;
use crate::domain::retired;
use crate::store::booking::ReferenceKey;

/// The withdrawal requests that members speak of, each once.
pub(super) fn requests<'a>(members: &[Member<'a>]) -> Vec<(MerchantId, &'a str)> {
    let named = members.iter().filter_map(|member| Some((member.incoming.merchant, member.incoming.withdrawal()?)));
    named.collect::<HashSet<_>>().into_iter().collect()
}

/// The pool addresses that deposits came to, each once. Most batches have none.
pub(super) fn pools<'a>(members: &[Member<'a>]) -> Vec<(MerchantId, &'a str)> {
    let named = members.iter().filter_map(|member| Some((member.incoming.merchant, member.incoming.pool()?)));
    named.collect::<HashSet<_>>().into_iter().collect()
}

/// The addresses that deposits came to, each once.
pub(super) fn addresses<'a>(members: &[Member<'a>]) -> Vec<&'a str> {
    let deposits = members.iter().filter(|member| member.incoming.order.is_none());
    let named = deposits.filter_map(|member| retired::address(&member.incoming.callback.head));
    named.collect::<HashSet<_>>().into_iter().collect()
}

pub(super) fn suspended(members: &[Member<'_>]) -> Vec<(MerchantId, i64)> {
    let named = members.iter().filter_map(|member| Some((member.incoming.merchant, member.incoming.discrepancy()?)));
    named.collect::<HashSet<_>>().into_iter().collect()
}

pub(super) fn unknown_references(cache: &Cache, members: &[Member<'_>]) -> Vec<ReferenceKey> {
    let named = members.iter().flat_map(|member| &member.incoming.references);
    let unknown: HashSet<_> = named.filter(|key| cache.customer(key).is_none()).collect();
    unknown.into_iter().cloned().collect()
}
