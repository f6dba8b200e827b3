//! What is printed: aligned text for people, one JSON object a line for programs.

use serde_json::{Value, json};
use siding::Error;
use std::io::{self, BufWriter, IsTerminal as _, StdoutLock, Write as _};
use std::process::ExitCode;

/// How a piece of text is to stand out, on a terminal.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Tone {
    Faint,
    Bad,
    Good,
}

/// The standard output.
pub(crate) struct Out {
    to: BufWriter<StdoutLock<'static>>,
    pub(crate) json: bool,
    colour: bool,
}

impl Out {
    pub(crate) fn new(json: bool) -> Self {
        let colour = io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
        Self { to: BufWriter::new(io::stdout().lock()), json, colour }
    }

    /// A line of text.
    pub(crate) fn line(&mut self, text: impl AsRef<str>) {
        let result = writeln!(self.to, "{}", text.as_ref());
        heard(result);
    }

    /// Lets whoever reads see what was said so far.
    pub(crate) fn flush(&mut self) {
        let result = self.to.flush();
        heard(result);
    }

    /// A JSON object, on a line of its own.
    pub(crate) fn object(&mut self, object: &Value) {
        let result = writeln!(self.to, "{object}");
        heard(result);
    }

    /// `text`, made to stand out if somebody looks at a terminal.
    pub(crate) fn toned(&self, tone: Tone, text: &str) -> String {
        if !self.colour {
            return text.to_owned();
        }
        let code = match tone {
            Tone::Faint => "2",
            Tone::Bad => "31",
            Tone::Good => "32",
        };
        format!("\x1b[{code}m{text}\x1b[0m")
    }

    /// Rows under their headings, each column as wide as it must be. Columns whose heading begins
    /// with `>` are aligned to the right.
    pub(crate) fn table(&mut self, headings: &[&str], rows: &[Vec<String>]) {
        let names: Vec<&str> = headings.iter().map(|name| name.trim_start_matches('>')).collect();
        let width = |column: usize| {
            let cells =
                rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count());
            cells.max().unwrap_or(0).max(names[column].len())
        };
        let widths: Vec<usize> = (0..names.len()).map(width).collect();
        let lay = |cells: &[&str]| {
            let mut line = String::new();
            for (column, cell) in cells.iter().enumerate() {
                let room = " ".repeat(widths[column].saturating_sub(cell.chars().count()));
                let right = headings[column].starts_with('>');
                line.push_str(if column == 0 { "" } else { "  " });
                line.push_str(if right { &room } else { "" });
                line.push_str(cell);
                line.push_str(if right { "" } else { &room });
            }
            line.trim_end().to_owned()
        };
        let heading = self.toned(Tone::Faint, &lay(&names));
        self.line(heading);
        for row in rows {
            let cells: Vec<&str> = row.iter().map(String::as_str).collect();
            self.line(lay(&cells));
        }
    }
}

impl Drop for Out {
    fn drop(&mut self) {
        let result = self.to.flush();
        heard(result);
    }
}

/// Whoever reads may have seen enough: then there is nothing left to do.
fn heard(result: io::Result<()>) {
    if let Err(error) = result {
        let enough = error.kind() == io::ErrorKind::BrokenPipe;
        std::process::exit(if enough { 0 } else { 3 });
    }
}

/// Something beside the answer, for people alone.
pub(crate) fn note(text: impl AsRef<str>) {
    // Nobody to tell is no reason to fail.
    let _ = writeln!(io::stderr(), "siding: {}", text.as_ref());
}

/// Says what went wrong.
fn say(error: &Error, json: bool) {
    if json {
        Out::new(true).object(&error_object(error));
    } else {
        note(error.to_string());
    }
}

/// Says why the log could not be read; the code to exit with.
pub(crate) fn failed(error: &Error, json: bool) -> ExitCode {
    say(error, json);
    ExitCode::from(3)
}

/// Says why what was asked was not done, though the log can be read: a finding.
pub(crate) fn failed_but_read(error: &Error, json: bool) -> siding::Result<bool> {
    say(error, json);
    Ok(false)
}

/// An error, for programs.
pub(crate) fn error_object(error: &Error) -> Value {
    json!({
        "error": error.to_string(),
        "kind": format!("{:?}", error.kind()),
        "letter": error.letter().map(String::from),
        "lsn": error.lsn().map(siding::Lsn::get),
        "file": error.path().map(|path| path.display().to_string()),
        "advice": error.advice(),
    })
}
