//! `send`: signs bodies and posts them to a running instance, as the processor would. Bodies go out byte for byte.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use reqwest::StatusCode;
use reqwest::header::CONTENT_TYPE;

use super::output::{self, Usage};
use super::sign::{Signer, body};
use crate::config::Sources;
use crate::processor::signature::sign;

const ROUTE: &str = "/callbacks/alphapo";
/// Longer than the booker may take.
const ANSWER_TIMEOUT_S: u64 = 30;
const CONNECT_TIMEOUT_S: u64 = 5;
/// Characters of an answer that are shown.
const SHOWN_MAX: usize = 200;

#[derive(clap::Args)]
pub struct Args {
    /// Bodies: a file is one body, and in .ndjson or .jsonl each line is one; `-` is stdin
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// Where the instance listens
    #[arg(long, default_value = "http://127.0.0.1:8080")]
    pub url: String,
    #[command(flatten)]
    pub signer: Signer,
}

/// One line for each body; exit code 1 unless all were answered 200.
pub async fn run(args: Args, sources: &Sources) -> anyhow::Result<u8> {
    let (key, secret) = args.signer.resolve(sources).await?;
    let key = key.ok_or_else(|| Usage("a secret needs its --key to be sent with.".to_owned()))?;
    let base = args.url.trim_end_matches('/');
    let url = if base.ends_with(ROUTE) { base.to_owned() } else { format!("{base}{ROUTE}") };
    let client = client(&url, ANSWER_TIMEOUT_S)?;
    let mut exit = 0;
    for file in &args.files {
        for (name, body) in bodies(file).await? {
            let request = client.post(&url).header(CONTENT_TYPE, "application/json").header("X-Processing-Key", &key);
            let request = request.header("X-Processing-Signature", sign(&secret, &body)).body(body);
            let (is_ok, verdict) = answer(request).await;
            output::say(&format!("{name}: {verdict}"))?;
            exit = if is_ok { exit } else { 1 };
        }
    }
    Ok(exit)
}

async fn answer(request: reqwest::RequestBuilder) -> (bool, String) {
    let response = match request.send().await {
        Ok(response) => response,
        Err(error) => return (false, format!("no answer: {}", chain(error))),
    };
    let status = response.status();
    if status == StatusCode::OK {
        return (true, "200".to_owned());
    }
    let text = response.text().await.unwrap_or_default();
    let text: String = output::printable(text.trim()).chars().take(SHOWN_MAX).collect();
    (false, format!("{} {text}", status.as_u16()))
}

/// An error with its causes: reqwest's own text tells only the URL.
pub(super) fn chain(error: reqwest::Error) -> String {
    let error = anyhow::Error::from(error.without_url());
    error.chain().map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

/// A client with bounds. An instance on this machine is asked straight, whatever proxy is set.
pub(super) fn client(url: &str, timeout_s: u64) -> anyhow::Result<reqwest::Client> {
    let parsed = reqwest::Url::parse(url).ok().filter(|url| matches!(url.scheme(), "http" | "https"));
    let parsed = parsed.ok_or_else(|| Usage(format!("`{url}` must be http://HOST:PORT or https://HOST.")))?;
    let host = parsed.host_str().unwrap_or_default();
    let is_local = host == "localhost" || host == "[::1]" || host.starts_with("127.");
    let builder = reqwest::Client::builder()
        .timeout(Duration::from_secs(timeout_s))
        .connect_timeout(Duration::from_secs(CONNECT_TIMEOUT_S.min(timeout_s)))
        .redirect(reqwest::redirect::Policy::none());
    let builder = if is_local { builder.no_proxy() } else { builder };
    builder.build().context("the HTTP client can't be made")
}

/// The bodies of a file, each with a name for the report.
async fn bodies(file: &Path) -> anyhow::Result<Vec<(String, Vec<u8>)>> {
    let bytes = body(Some(file)).await?;
    let name = file.display().to_string();
    let is_lines = file.extension().is_some_and(|extension| extension == "ndjson" || extension == "jsonl");
    if !is_lines {
        return Ok(vec![(name, bytes)]);
    }
    let lines = bytes.split(|byte| *byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    let numbered = lines.zip(1_u64..).filter(|(line, _)| !line.is_empty());
    Ok(numbered.map(|(line, number)| (format!("{name}:{number}"), line.to_vec())).collect())
}
