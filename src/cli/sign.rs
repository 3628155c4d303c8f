//! `sign` and `verify`: the processor's signature by hand, for a body on stdin or in a file. They never print a secret.

use std::path::{Path, PathBuf};

use anyhow::Context;
use secrecy::{ExposeSecret, SecretString};
use tokio::io::AsyncReadExt;

use super::output::{self, Usage};
use crate::config::{Merchant, SECRET_CHARS_MIN, Settings, Sources};
use crate::domain::ids::MerchantId;
use crate::processor::signature::{Keyring, MerchantKeys, likely_cause, sign};

/// Stands for a key where only the secret is in question.
const ANY_KEY: &str = "any";

/// Whose secret it is. Without all of these: the only merchant of the settings.
#[derive(clap::Args, Clone)]
pub struct Signer {
    /// A merchant of the settings
    #[arg(long, value_name = "NAME", conflicts_with_all = ["secret", "secret_file"])]
    pub merchant: Option<String>,
    /// The key id
    #[arg(long)]
    pub key: Option<String>,
    /// The secret; others on this machine can see it here, so prefer --secret-file
    #[arg(long, conflicts_with = "secret_file")]
    pub secret: Option<String>,
    /// A file that holds the secret
    #[arg(long, value_name = "FILE")]
    pub secret_file: Option<PathBuf>,
}

#[derive(clap::Args)]
pub struct SignArgs {
    /// The body; stdin without it, or with `-`
    #[arg(long)]
    pub file: Option<PathBuf>,
    /// Print the signature alone, without header names
    #[arg(long)]
    pub value: bool,
    #[command(flatten)]
    pub signer: Signer,
}

#[derive(clap::Args)]
pub struct VerifyArgs {
    /// The value of X-Processing-Signature
    #[arg(long, value_name = "HEX")]
    pub signature: String,
    /// The body; stdin without it, or with `-`
    #[arg(long)]
    pub file: Option<PathBuf>,
    #[command(flatten)]
    pub signer: Signer,
}

impl Signer {
    /// The secret and, if it is known, the key.
    pub async fn resolve(&self, sources: &Sources) -> anyhow::Result<(Option<String>, SecretString)> {
        if let Some(secret) = self.given_secret().await? {
            return Ok((self.key.clone(), secret));
        }
        let settings = Settings::load(sources)?;
        let merchant = self.select(&settings)?;
        Ok((Some(self.key.clone().unwrap_or_else(|| merchant.key.clone())), merchant.secret.clone()))
    }

    async fn given_secret(&self) -> anyhow::Result<Option<SecretString>> {
        let secret = match (&self.secret, &self.secret_file) {
            (Some(secret), _) => secret.clone(),
            (None, Some(path)) => {
                let text = tokio::fs::read_to_string(path).await;
                let text = text.with_context(|| format!("{} can't be read", path.display()))?;
                let line = text.strip_suffix('\n').unwrap_or(&text);
                line.strip_suffix('\r').unwrap_or(line).to_owned()
            }
            (None, None) => return Ok(None),
        };
        if secret.is_empty() { Err(Usage("the secret is empty.".to_owned()).into()) } else { Ok(Some(secret.into())) }
    }

    fn select<'a>(&self, settings: &'a Settings) -> Result<&'a Merchant, Usage> {
        let names = || settings.merchants.iter().map(|merchant| merchant.name.as_str()).collect::<Vec<_>>().join(", ");
        match (&self.merchant, settings.merchants.as_slice()) {
            (_, []) => Err(Usage("no merchant is set: give --secret-file, or set TALLYHOOK_MERCHANTS__….".to_owned())),
            (Some(name), _) => settings
                .merchant(name)
                .ok_or_else(|| Usage(format!("there is no merchant {name} in the settings, only {}.", names()))),
            (None, [only]) => Ok(only),
            (None, _) => Err(Usage(format!("whose? Give --merchant with one of {}.", names()))),
        }
    }
}

/// `sign`: the two header lines, or the value alone where no key is known.
pub async fn run_sign(args: SignArgs, sources: &Sources) -> anyhow::Result<u8> {
    let (key, secret) = args.signer.resolve(sources).await?;
    let signature = sign(&secret, &body(args.file.as_deref()).await?);
    match key.filter(|_| !args.value) {
        Some(key) => output::say(&format!("X-Processing-Key: {key}\nX-Processing-Signature: {signature}"))?,
        None => output::say(&signature)?,
    }
    Ok(0)
}

/// `verify`: the verdict, and for a refusal its likely cause and exit code 4.
pub async fn run_verify(args: VerifyArgs, sources: &Sources) -> anyhow::Result<u8> {
    if let Some(secret) = args.signer.given_secret().await?.filter(is_short) {
        return verify_short(&args, &secret).await;
    }
    let (keyring, names, key) = keyring(&args.signer, sources).await?;
    let body = body(args.file.as_deref()).await?;
    let (key, signature) = (Some(key.as_bytes()), Some(args.signature.as_bytes()));
    match keyring.verify(key, signature, &body) {
        Ok(verified) => {
            let name = usize::try_from(verified.merchant.0).ok().and_then(|at| names.get(at));
            let whose = name.map_or("the given secret".to_owned(), |name| format!("merchant {name}"));
            let which =
                if verified.secret_index == 0 { "" } else { " (the previous secret: the sender has not rotated)" };
            output::say(&format!("valid: signed by {whose}{which}"))?;
            Ok(0)
        }
        Err(refused) => {
            output::say(&format!("invalid: {refused}"))?;
            let cause = likely_cause(&keyring, key, signature, &body);
            output::say(&format!("likely cause: {} ({})", cause.sentence(), cause.code()))?;
            Ok(4)
        }
    }
}

fn is_short(secret: &SecretString) -> bool {
    secret.expose_secret().chars().count() < SECRET_CHARS_MIN
}

/// A secret as published examples have them. No instance starts with it, and no keyring takes it.
async fn verify_short(args: &VerifyArgs, secret: &SecretString) -> anyhow::Result<u8> {
    let body = body(args.file.as_deref()).await?;
    let is_valid = sign(secret, &body).eq_ignore_ascii_case(args.signature.trim());
    let verdict =
        if is_valid { "valid: signed by the given secret" } else { "invalid: the signature does not fit the body" };
    output::say(verdict)?;
    output::tell("note: this secret has fewer than 12 characters, so no instance would start with it.");
    Ok(if is_valid { 0 } else { 4 })
}

/// The keys to check against, the names of their merchants, and the key that the request is taken to have.
async fn keyring(signer: &Signer, sources: &Sources) -> anyhow::Result<(Keyring, Vec<String>, String)> {
    if let Some(secret) = signer.given_secret().await? {
        let key = signer.key.clone().unwrap_or_else(|| ANY_KEY.to_owned());
        let keys = MerchantKeys { merchant: MerchantId(0), key: key.clone(), secrets: vec![secret] };
        return Ok((Keyring::try_new([keys])?, Vec::new(), key));
    }
    let settings = Settings::load(sources)?;
    let key = match &signer.key {
        Some(key) if signer.merchant.is_none() => key.clone(),
        Some(_) | None => signer.select(&settings)?.key.clone(),
    };
    let keys = settings.merchants.iter().enumerate().map(|(at, merchant)| MerchantKeys {
        merchant: MerchantId(i16::try_from(at).unwrap_or(i16::MAX)),
        key: merchant.key.clone(),
        secrets: std::iter::once(&merchant.secret).chain(&merchant.previous_secret).cloned().collect(),
    });
    let keyring = Keyring::try_new(keys)?;
    Ok((keyring, settings.merchants.into_iter().map(|merchant| merchant.name).collect(), key))
}

/// The exact bytes: nothing is trimmed, because the signature is over all of them.
pub async fn body(file: Option<&Path>) -> anyhow::Result<Vec<u8>> {
    if let Some(path) = file.filter(|path| path.as_os_str() != "-") {
        return tokio::fs::read(path).await.with_context(|| format!("{} can't be read", path.display()));
    }
    let mut body = Vec::new();
    tokio::io::stdin().read_to_end(&mut body).await.context("stdin can't be read")?;
    Ok(body)
}
