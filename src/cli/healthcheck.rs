//! `healthcheck`: asks the running instance whether it is ready, for container images without a shell.

use reqwest::StatusCode;

use super::output;
use super::send::{chain, client};
use crate::config::{Settings, Sources};

const TIMEOUT_S: u64 = 3;

#[derive(clap::Args)]
pub struct Args {
    /// Where the instance listens; the settings' `listen` without it
    #[arg(long)]
    pub url: Option<String>,
}

/// Exit code 0: ready; 1: not, with the reason.
pub async fn run(args: Args, sources: &Sources) -> anyhow::Result<u8> {
    let base = match args.url {
        Some(url) => url.trim_end_matches('/').to_owned(),
        None => format!("http://{}", reachable(&Settings::load(sources)?.listen)),
    };
    let url = format!("{base}/readyz");
    let verdict = match client(&url, TIMEOUT_S)?.get(&url).send().await {
        Ok(response) if response.status() == StatusCode::OK => return output::say("ready").map(|()| 0),
        Ok(response) => format!("not ready: {url} answers {}", response.status().as_u16()),
        Err(error) => format!("not ready: {url} does not answer: {}", chain(error)),
    };
    output::tell(&verdict);
    Ok(1)
}

/// An address that listens everywhere is reached at home.
fn reachable(listen: &str) -> String {
    match listen.rsplit_once(':') {
        Some(("0.0.0.0", port)) => format!("127.0.0.1:{port}"),
        Some(("[::]", port)) => format!("[::1]:{port}"),
        Some(_) | None => listen.to_owned(),
    }
}
