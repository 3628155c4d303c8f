//! `completions`: a completion script for a shell, on stdout.

use super::output;

#[derive(clap::Args)]
pub struct Args {
    pub shell: clap_complete::Shell,
}

/// The command is the whole program's.
pub fn run(args: &Args, mut command: clap::Command) -> anyhow::Result<u8> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut command, "tallyhook", &mut script);
    output::print(&String::from_utf8(script)?)?;
    Ok(0)
}
