//! `healthcheck`: asks the running instance whether it is ready, for container images without a shell.

use reqwest::StatusCode;

use super::output;
use super::send::{chain, client};
use crate::config::{Settings, Sources};

const TIMEOUT_S: u64 = 3;

#[derive(clap::Args)]
pub struct Args {
    /// Where the instance listens; the settings' `listen` without it, or `admin_listen` where nothing listens there
    #[arg(long)]
    pub url: Option<String>,
}

/// Exit code 0: ready; 1: not, with the reason.
pub async fn run(args: Args, sources: &Sources) -> anyhow::Result<u8> {
    let bases = match args.url {
        Some(url) => vec![url.trim_end_matches('/').to_owned()],
        None => {
            let settings = Settings::load(sources)?;
            // One that only works in the background takes no callbacks.
            [&settings.listen, &settings.admin_listen].map(|listen| format!("http://{}", reachable(listen))).into()
        }
    };
    let mut verdict = String::new();
    for base in bases {
        let url = format!("{base}/readyz");
        let answer = client(&url, TIMEOUT_S)?.get(&url).send().await;
        let is_nobody_there = answer.as_ref().is_err_and(reqwest::Error::is_connect);
        verdict = match answer {
            Ok(response) if response.status() == StatusCode::OK => return output::say("ready").map(|()| 0),
            Ok(response) => format!("not ready: {url} answers {}", response.status().as_u16()),
            Err(error) => format!("not ready: {url} does not answer: {}", chain(error)),
        };
        if !is_nobody_there {
            break;
        }
    }
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
