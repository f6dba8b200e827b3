//! Markup, written so that nothing that is shown can become markup.

use std::fmt::{Display, Write as _};

/// Elements and text. Names are the program's own; all else is escaped.
#[derive(Debug, Default)]
pub(super) struct Markup {
    text: String,
    open: Vec<&'static str>,
}

/// The attributes of an element.
pub(super) type Attributes<'a> = &'a [(&'static str, &'a dyn Display)];

impl Markup {
    pub(super) fn new() -> Self {
        Self::default()
    }

    /// Opens an element.
    pub(super) fn open(&mut self, name: &'static str, attributes: Attributes<'_>) -> &mut Self {
        self.tag(name, attributes, "");
        self.open.push(name);
        self
    }

    /// Closes the element that was opened last.
    pub(super) fn close(&mut self) -> &mut Self {
        if let Some(name) = self.open.pop() {
            self.put(format_args!("</{name}>\n"));
        }
        self
    }

    /// An element without contents.
    pub(super) fn empty(&mut self, name: &'static str, attributes: Attributes<'_>) -> &mut Self {
        self.tag(name, attributes, "/");
        self.text.push('\n');
        self
    }

    /// An element with nothing but text.
    pub(super) fn element(
        &mut self,
        name: &'static str,
        attributes: Attributes<'_>,
        text: impl Display,
    ) -> &mut Self {
        self.open(name, attributes).text(text).close()
    }

    /// Text.
    pub(super) fn text(&mut self, text: impl Display) -> &mut Self {
        escape(&mut self.text, &text.to_string());
        self
    }

    /// What was made elsewhere.
    pub(super) fn add(&mut self, made: Self) -> &mut Self {
        self.text.push_str(&made.finish());
        self
    }

    /// Something that is a part of this program, and markup already.
    pub(super) fn own(&mut self, text: &'static str) -> &mut Self {
        self.text.push_str(text);
        self
    }

    /// The text, everything closed.
    pub(super) fn finish(mut self) -> String {
        while !self.open.is_empty() {
            self.close();
        }
        self.text
    }

    fn tag(&mut self, name: &str, attributes: Attributes<'_>, end: &str) {
        self.put(format_args!("<{name}"));
        for (name, value) in attributes {
            self.put(format_args!(" {name}=\""));
            escape(&mut self.text, &value.to_string());
            self.text.push('"');
        }
        self.put(format_args!("{end}>"));
    }

    fn put(&mut self, text: std::fmt::Arguments<'_>) {
        // Writing into a string cannot fail.
        let _ = self.text.write_fmt(text);
    }
}

/// Neither markup nor anything that a reader would not see as it is: controls and marks that turn
/// the direction of text are spelt out.
fn escape(out: &mut String, text: &str) {
    for character in text.chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            '\\' => out.push('\\'),
            other => out.extend(other.escape_debug()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_does_not_become_markup() {
        let mut made = Markup::new();
        made.open("p", &[("title", &"a\"b'c<d")]);
        made.text("<script>&\u{202e}\u{7}\n").empty("hr", &[]);
        assert_eq!(
            made.finish(),
            "<p title=\"a&quot;b&#39;c&lt;d\">&lt;script&gt;&amp;\\u{202e}\\u{7}\\n<hr/>\n</p>\n"
        );
    }

    #[test]
    fn what_is_open_is_closed_in_turn() {
        let mut made = Markup::new();
        made.open("svg", &[]).open("g", &[]).element("title", &[], 7);
        assert_eq!(made.finish(), "<svg><g><title>7</title>\n</g>\n</svg>\n");
    }
}
