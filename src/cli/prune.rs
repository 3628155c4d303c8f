//! `prune`: forgets the bodies of old callbacks. Digest, decision and everything booked stay; so do the bodies of what
//! still waits for a decision. Says what it would do unless it is told `--yes`.

use super::output::{Usage, tell};
use crate::app::{database, now_us};
use crate::config::{Settings, Sources};
use crate::http::admin::query;
use crate::store::callbacks::prune;

#[derive(clap::Args)]
pub struct Args {
    /// How old, such as 400d, or before which time
    #[arg(long, value_name = "TIME", default_value = "400d")]
    pub older_than: String,
    /// Does it
    #[arg(long)]
    pub yes: bool,
}

pub async fn run(args: Args, sources: &Sources) -> anyhow::Result<u8> {
    let settings = Settings::load(sources)?;
    let db = database(&settings).await?;
    let before_us = query::moment("older-than", &args.older_than, now_us()).map_err(Usage)?;
    let upto = prune::bound(&db, before_us).await?;
    let (mut cursor, mut bodies, mut bytes) = (0, 0_i64, 0_i64);
    while cursor < upto {
        let part = prune::step(&db, before_us, cursor, upto, args.yes).await?;
        cursor = part.cursor;
        bodies = bodies.saturating_add(part.bodies);
        bytes = bytes.saturating_add(part.bytes);
    }
    tell(&if args.yes {
        format!("{bodies} bodies of {bytes} bytes are gone.")
    } else {
        format!("{bodies} bodies of {bytes} bytes would go. Nothing was done: add --yes to do it.")
    });
    Ok(0)
}
