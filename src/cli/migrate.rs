//! `migrate up|status`: the only verbs that change the schema.

use clap::Subcommand;
use secrecy::ExposeSecret as _;

use super::output::{Listing, Output, say, tell};
use crate::app::reach;
use crate::config::{Settings, Sources};
use crate::store::{no_file, schema};

#[derive(Subcommand)]
pub enum Command {
    /// Applies what is missing
    Up,
    /// Lists the migrations; exit 4 when some are missing
    Status {
        #[arg(long, value_enum, default_value_t)]
        output: Output,
    },
}

pub async fn run(command: Command, sources: &Sources) -> anyhow::Result<u8> {
    let settings = Settings::load(sources)?;
    if let (Command::Status { .. }, Some(no_file)) = (&command, no_file(settings.database.url.expose_secret())) {
        tell(&no_file);
        return Ok(4);
    }
    let db = reach(&settings).await?;
    match command {
        Command::Up => {
            let before = schema::missing(&db).await?;
            schema::migrate(&db).await?;
            say(&format!("{before} migrations applied; the schema is up to date"))?;
            Ok(0)
        }
        Command::Status { output } => {
            let steps = schema::steps(&db).await?;
            let is_complete = steps.iter().all(|step| step.is_applied);
            let mut listing = Listing::new(&["migration", "applied"]);
            steps.into_iter().for_each(|step| listing.push([step.name.into(), step.is_applied.into()]));
            listing.print(output)?;
            Ok(if is_complete { 0 } else { 4 })
        }
    }
}
