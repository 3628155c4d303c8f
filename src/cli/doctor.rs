//! `doctor`: one line for each thing that can be wrong, and what to do about it. Changes nothing.

use std::time::Duration;

use secrecy::ExposeSecret;

use super::output::say;
use crate::config::{Settings, Sources};
use crate::store::{Db, schema};
use crate::{app, broker, store};

/// A finding: fine, or what to do.
type Finding = Result<String, String>;

pub async fn run(sources: &Sources) -> anyhow::Result<u8> {
    let settings = match Settings::load(sources) {
        Ok(settings) => settings,
        Err(faults) => {
            say(&format!("✗ settings    {faults}"))?;
            return Ok(4);
        }
    };
    let mut findings: Vec<(&str, Finding)> = vec![("settings", Ok("read and checked".to_owned()))];
    findings.push(("merchants", merchants(&settings)));
    findings.push(("tokens", tokens(&settings)));
    if let Some(no_file) = store::no_file(settings.database.url.expose_secret()) {
        findings.push(("database", Err(no_file)));
    } else {
        let db = Db::lazy(settings.database.url.expose_secret(), 2).await?;
        let database = database(&db).await;
        let is_there = database.is_ok();
        findings.push(("database", database));
        if is_there {
            findings.push(("schema", migrations(&db).await));
            findings.push(("clock", clock(&db).await));
        }
    }
    findings.push(("broker", rabbitmq(&settings).await));
    let is_well = findings.iter().all(|(_, finding)| finding.is_ok());
    for (name, finding) in &findings {
        match finding {
            Ok(fine) => say(&format!("✓ {name:<11} {fine}"))?,
            Err(trouble) => say(&format!("✗ {name:<11} {trouble}"))?,
        }
    }
    Ok(if is_well { 0 } else { 4 })
}

fn merchants(settings: &Settings) -> Finding {
    let names: Vec<_> = settings.merchants.iter().map(|merchant| merchant.name.as_str()).collect();
    if names.is_empty() {
        return Err("none: set TALLYHOOK_MERCHANTS__MAIN__KEY and …__SECRET".to_owned());
    }
    let rotating = settings.merchants.iter().filter(|merchant| merchant.previous_secret.is_some()).count();
    Ok(format!("{} ({rotating} with a previous secret still accepted)", names.join(", ")))
}

fn tokens(settings: &Settings) -> Finding {
    let count = settings.tokens.len();
    Ok(if count == 0 { "none: `serve` makes one for each run".to_owned() } else { format!("{count} set") })
}

async fn database(db: &Db) -> Finding {
    match tokio::time::timeout(Duration::from_secs(5), db.ping()).await {
        Ok(Ok(())) => Ok(format!("{:?} answers", db.kind)),
        Ok(Err(error)) => Err(format!("{:#}: is it running, and is DATABASE_URL right?", anyhow::Error::new(error))),
        Err(_) => Err("no answer within 5 s: is DATABASE_URL right?".to_owned()),
    }
}

async fn migrations(db: &Db) -> Finding {
    match schema::missing(db).await {
        Ok(0) => Ok("up to date".to_owned()),
        Ok(missing) => Err(format!("{missing} migrations missing: run `tallyhook migrate up`")),
        Err(error) => Err(format!("{:#}", anyhow::Error::new(error))),
    }
}

async fn clock(db: &Db) -> Finding {
    let theirs =
        store::cursor::database_now_us(db).await.map_err(|error| format!("{:#}", anyhow::Error::new(error)))?;
    let apart_ms = app::now_us().abs_diff(theirs).div_euclid(1_000);
    if apart_ms > 5_000 {
        return Err(format!("{apart_ms} ms away from the database's: synchronise both by NTP"));
    }
    Ok(format!("{apart_ms} ms from the database's"))
}

async fn rabbitmq(settings: &Settings) -> Finding {
    if settings.broker.urls.is_empty() {
        return Ok("none set: events over HTTP only".to_owned());
    }
    match tokio::time::timeout(Duration::from_secs(10), broker::Broker::connect(&settings.broker, 0)).await {
        Ok(Ok(_)) => Ok("RabbitMQ answers".to_owned()),
        Ok(Err(error)) => Err(format!("{:#}: is it running, and is AMQP_URL right?", anyhow::Error::new(error))),
        Err(_) => Err("no answer within 10 s: is AMQP_URL right?".to_owned()),
    }
}
