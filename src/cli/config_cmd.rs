//! `config check` and `config show`: what the settings are, where each comes from, and all that is wrong with them.
//! Secrets and passwords are never shown.

use super::output::{self, Listing, Output};
use crate::config::{self, Settings, Sources};

#[derive(clap::Subcommand)]
pub enum Command {
    /// Lists all faults of the settings; exit code 2 if there are any
    Check,
    /// Prints every effective setting, redacted, with its source
    Show {
        #[arg(long, value_enum, default_value_t)]
        output: Output,
    },
}

pub fn run(command: Command, sources: &Sources) -> anyhow::Result<u8> {
    let loaded = Settings::load(sources);
    match (command, &loaded) {
        (Command::Check, Ok(settings)) => output::say(&summary(settings))?,
        (Command::Check, Err(_)) => {}
        (Command::Show { output }, _) => {
            let mut listing = Listing::new(&["key", "value", "source"]);
            for shown in config::show(sources) {
                listing.push([shown.key.into(), shown.value.into(), shown.source.into()]);
            }
            listing.print(output)?;
        }
    }
    let Err(faults) = loaded else { return Ok(0) };
    output::tell(&faults.to_string());
    Ok(2)
}

fn summary(settings: &Settings) -> String {
    let counted = |count: usize, noun: &str| format!("{count} {noun}{}", if count == 1 { "" } else { "s" });
    let merchants = counted(settings.merchants.len(), "merchant");
    let tokens = counted(settings.tokens.len(), "token");
    let hint = if settings.merchants.is_empty() { "; `serve` needs a merchant" } else { "" };
    format!("The settings are fine: {merchants}, {tokens}{hint}.")
}
