//! CSV that a spreadsheet may open: RFC 4180, and no cell that a spreadsheet would run as a formula.

use serde_json::Value;

use super::shape::Row;

/// The columns of a row, as a line.
pub fn row(row: &Row, columns: &[&str]) -> String {
    line(columns.iter().map(|column| cell(row.get(*column))))
}

/// Cells, as a line.
pub fn line(cells: impl Iterator<Item = String>) -> String {
    let cells: Vec<_> = cells.map(|cell| quoted(&harmless(&cell))).collect();
    format!("{}\r\n", cells.join(","))
}

fn cell(value: Option<&Value>) -> String {
    match value {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(other @ (Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_))) => other.to_string(),
    }
}

/// A text that begins like a formula gets an apostrophe before it; a number, and so every amount, is left alone.
pub fn harmless(text: &str) -> String {
    let is_formula = text.starts_with(['=', '+', '-', '@', '\t', '\r', '\n', '|', '%']);
    let is_number = crate::domain::amount::Amount::parse(text).is_ok();
    if is_formula && !is_number { format!("'{text}") } else { text.to_owned() }
}

fn quoted(text: &str) -> String {
    if text.contains([',', '"', '\n', '\r', ';', '\'']) || text.trim() != text {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text.to_owned()
    }
}
