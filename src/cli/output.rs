//! What commands print: lists as table, JSON, NDJSON or CSV, and single lines. It adds no colour, so nothing depends
//! on a terminal, and a reader that goes away early (`| head`) is no error.

use std::io::{ErrorKind, IsTerminal, Write};

use serde_json::{Map, Value};

/// Rows that are asked for at once.
const PAGE: u64 = 500;

/// `--output`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum Output {
    #[default]
    Table,
    Json,
    Ndjson,
    Csv,
}

/// The command line, not the work, is at fault: exit code 2.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Usage(pub String);

/// Rows with the columns that a table or CSV shows; JSON shows whole rows.
#[derive(Debug, Clone, Default)]
pub struct Listing {
    pub columns: &'static [&'static str],
    pub rows: Vec<Map<String, Value>>,
}

impl Listing {
    pub const fn new(columns: &'static [&'static str]) -> Self {
        Self { columns, rows: Vec::new() }
    }

    /// Adds a row; the values stand in the order of the columns.
    pub fn push<const N: usize>(&mut self, values: [Value; N]) {
        self.rows.push(self.columns.iter().map(|column| (*column).to_owned()).zip(values).collect());
    }

    /// Adds the rows of one page after the other until there are `limit` of them, or no more. `page` is asked for the rows
    /// after a cursor, and how many, and answers with them and the next cursor.
    pub async fn fill<E>(
        &mut self,
        limit: u64,
        mut page: impl AsyncFnMut(Option<i64>, u64) -> Result<(Vec<Map<String, Value>>, Option<i64>), E>,
    ) -> Result<(), E> {
        let (mut room, mut after) = (limit, None);
        while room > 0 {
            let (rows, next) = page(after, room.min(PAGE)).await?;
            room = room.saturating_sub(u64::try_from(rows.len()).unwrap_or(u64::MAX));
            self.rows.extend(rows);
            after = next;
            if after.is_none() {
                break;
            }
        }
        Ok(())
    }

    pub fn print(&self, output: Output) -> anyhow::Result<()> {
        print(&self.render(output)?)
    }

    /// The whole text, with a line break at its end unless it is empty.
    pub fn render(&self, output: Output) -> anyhow::Result<String> {
        Ok(match output {
            Output::Table => self.table(),
            Output::Json => format!("{}\n", serde_json::to_string_pretty(&self.rows)?),
            Output::Ndjson => {
                let lines: Result<Vec<String>, _> = self.rows.iter().map(serde_json::to_string).collect();
                lines?.into_iter().map(|line| format!("{line}\n")).collect()
            }
            Output::Csv => self.csv(),
        })
    }

    fn cells(&self) -> impl Iterator<Item = Vec<String>> {
        self.rows.iter().map(|row| self.columns.iter().map(|column| cell(row.get(*column))).collect())
    }

    fn table(&self) -> String {
        let head = self.columns.iter().map(|column| column.to_uppercase()).collect();
        let shown = self.cells().map(|row| row.iter().map(|cell| printable(cell)).collect());
        let lines: Vec<Vec<String>> = std::iter::once(head).chain(shown).collect();
        let mut widths = vec![0; self.columns.len()];
        for line in &lines {
            for (width, cell) in widths.iter_mut().zip(line) {
                *width = cell.chars().count().max(*width);
            }
        }
        let line = |line: &Vec<String>| {
            let padded = line.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
            format!("{}\n", padded.collect::<Vec<_>>().join("  ").trim_end())
        };
        lines.iter().map(line).collect()
    }

    /// RFC 4180, with `\n` between the lines.
    fn csv(&self) -> String {
        let head = self.columns.iter().map(|column| (*column).to_owned()).collect();
        let line =
            |cells: Vec<String>| format!("{}\n", cells.iter().map(|cell| quoted(cell)).collect::<Vec<_>>().join(","));
        std::iter::once(head).chain(self.cells()).map(line).collect()
    }
}

fn cell(value: Option<&Value>) -> String {
    match value {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(other @ (Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_))) => other.to_string(),
    }
}

/// Nothing that a stored text holds may steer the terminal.
pub fn printable(text: &str) -> String {
    text.chars()
        .map(|char| if char.is_control() { char.escape_default().to_string() } else { char.to_string() })
        .collect()
}

fn quoted(text: &str) -> String {
    if text.contains([',', '"', '\n', '\r']) || text.trim() != text {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text.to_owned()
    }
}

/// Writes to stdout, as it is.
pub fn print(text: &str) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(error.into()),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// A line to stdout.
pub fn say(line: &str) -> anyhow::Result<()> {
    print(&format!("{line}\n"))
}

/// A line to stderr: what a script that reads stdout must not see.
pub fn tell(line: &str) {
    // There is nobody to tell that stderr is closed.
    drop(std::io::stderr().lock().write_all(format!("{line}\n").as_bytes()));
}

/// Characters of a bar.
const BAR: u64 = 30;

/// How far something is, on a terminal only: a script wants the result.
pub fn bar(done: u64, of: u64, rest: &str) {
    if !std::io::stderr().is_terminal() {
        return;
    }
    let share = |whole: u64| done.saturating_mul(whole).checked_div(of).unwrap_or(whole).min(whole);
    let full = usize::try_from(share(BAR)).unwrap_or(0);
    let empty = usize::try_from(BAR).unwrap_or(0).saturating_sub(full);
    progress(&format!("[{}{}] {:>3} %  {rest}", "#".repeat(full), ".".repeat(empty), share(100)));
}

/// Ends the line of a bar.
pub fn bar_done() {
    if std::io::stderr().is_terminal() {
        tell("");
    }
}

/// Rewrites the last line of a terminal's stderr.
fn progress(line: &str) {
    drop(std::io::stderr().lock().write_all(format!("\r{line}\x1b[K").as_bytes()));
}
