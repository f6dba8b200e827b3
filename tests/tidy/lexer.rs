//! Rust source with its strings and comments blanked, so that a rule sees code and nothing else.

/// A text file of the repository.
pub(crate) struct Source {
    /// Relative to the root, with `/`.
    pub(crate) path: String,
    pub(crate) text: String,
    /// As long as `text`: what stands in strings, characters and comments is spaces. Empty for a
    /// file that is not Rust.
    pub(crate) code: String,
}

impl Source {
    pub(crate) fn new(path: &str, text: &str) -> Self {
        let code = if path.ends_with(".rs") { blank(text) } else { String::new() };
        Self { path: path.to_owned(), text: text.to_owned(), code }
    }

    /// What a rule says about the byte at `offset`.
    pub(crate) fn at(&self, offset: usize, what: &str) -> String {
        let line = self.text[..offset].matches('\n').count() + 1;
        format!("{}:{line}: {what}", self.path)
    }

    /// Where `word` stands in the code as a whole word.
    pub(crate) fn words<'a>(&'a self, word: &'a str) -> impl Iterator<Item = usize> + 'a {
        let found = self.code.match_indices(word).map(|(at, _)| at);
        found.filter(|at| is_word(&self.code, *at, word.len()))
    }

    /// The code between the braces that open at or behind `from`, braces included.
    pub(crate) fn block(&self, from: usize) -> Option<std::ops::Range<usize>> {
        let start = from + self.code[from..].find('{')?;
        let mut depth = 0_usize;
        for (at, byte) in self.code.bytes().enumerate().skip(start) {
            match byte {
                b'{' => depth += 1,
                b'}' if depth == 1 => return Some(start..at + 1),
                b'}' => depth -= 1,
                _ => {}
            }
        }
        None
    }

    /// The blocks of modules that are compiled for tests alone.
    pub(crate) fn test_blocks(&self) -> Vec<std::ops::Range<usize>> {
        let marks = self.code.match_indices("#[cfg(test)]").map(|(at, mark)| at + mark.len());
        marks
            .filter(|at| self.code[*at..].trim_start().starts_with("mod "))
            .filter_map(|at| self.block(at))
            .collect()
    }
}

fn is_word(code: &str, at: usize, len: usize) -> bool {
    let part = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
    let bytes = code.as_bytes();
    let before = at.checked_sub(1).and_then(|at| bytes.get(at));
    !before.is_some_and(part) && !bytes.get(at + len).is_some_and(part)
}

/// `text` with spaces for what is no code; lines stay lines.
fn blank(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = bytes.to_vec();
    let mut at = 0;
    while at < bytes.len() {
        let end = at + token_len(bytes, at).unwrap_or(0);
        if end == at {
            at += 1;
            continue;
        }
        for byte in &mut out[at..end] {
            if *byte != b'\n' {
                *byte = b' ';
            }
        }
        at = end;
    }
    String::from_utf8(out).unwrap_or_default()
}

/// The length of the comment, string or character that starts at `at`, if one does.
fn token_len(bytes: &[u8], at: usize) -> Option<usize> {
    let rest = &bytes[at..];
    match rest {
        [b'/', b'/', ..] => Some(rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len())),
        [b'/', b'*', ..] => Some(comment_len(rest)),
        [b'"', ..] => Some(string_len(rest)),
        [b'\'', ..] => char_len(rest),
        [b'r', ..] if !joined(bytes, at) => raw_len(rest),
        _ => None,
    }
}

/// Whether the byte before `at` belongs to the same identifier. A `b` or `c` before a raw
/// string's `r` is its prefix.
fn joined(bytes: &[u8], at: usize) -> bool {
    let word = |at: usize| bytes[at].is_ascii_alphanumeric() || bytes[at] == b'_';
    match at.checked_sub(1) {
        None => false,
        Some(before) if matches!(bytes[before], b'b' | b'c') => before > 0 && word(before - 1),
        Some(before) => word(before),
    }
}

fn comment_len(rest: &[u8]) -> usize {
    let (mut depth, mut at) = (0_usize, 0);
    while at < rest.len() {
        match rest[at..] {
            [b'/', b'*', ..] => (depth, at) = (depth + 1, at + 2),
            [b'*', b'/', ..] if depth == 1 => return at + 2,
            [b'*', b'/', ..] => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
    }
    rest.len()
}

fn string_len(rest: &[u8]) -> usize {
    let mut at = 1;
    while at < rest.len() {
        match rest[at] {
            b'\\' => at += 2,
            b'"' => return at + 1,
            _ => at += 1,
        }
    }
    rest.len()
}

/// A character literal; a lifetime is none.
fn char_len(rest: &[u8]) -> Option<usize> {
    if rest.get(1) == Some(&b'\\') {
        let end = rest.iter().skip(3).position(|byte| *byte == b'\'')?;
        return Some(end + 4);
    }
    let text = std::str::from_utf8(&rest[1..]).ok()?;
    let len = text.chars().next()?.len_utf8();
    (rest.get(1 + len) == Some(&b'\'')).then_some(len + 2)
}

fn raw_len(rest: &[u8]) -> Option<usize> {
    let hashes = rest.iter().skip(1).take_while(|byte| **byte == b'#').count();
    if rest.get(1 + hashes) != Some(&b'"') {
        return None;
    }
    let mut close = vec![b'"'];
    close.resize(hashes + 1, b'#');
    let body = &rest[hashes + 2..];
    let end = body.windows(close.len()).position(|window| window == close);
    Some(end.map_or(rest.len(), |end| hashes + 2 + end + close.len()))
}

#[test]
fn strings_comments_and_characters_are_blanked() {
    let cases = [
        ("a // {b}\nc", "a       \nc"),
        ("a /* { /* */ } */ c", "a                 c"),
        (r#"a "{\"}" c"#, r#"a        c"#),
        (r##"a r#"{"}"# c"##, r##"a          c"##),
        (r##"a br"{" c"##, r##"a b     c"##),
        (r"a '{' '\'' '\u{7d}' c", r"a                   c"),
        ("fn a<'b>(c: &'b str) -> &'b str {", "fn a<'b>(c: &'b str) -> &'b str {"),
        ("for r in 'é'", "for r in     "),
        ("let var\"{\" = 1", "let var    = 1"),
        ("\"line\n{\" d", "     \n   d"),
    ];
    for (text, code) in cases {
        assert_eq!(blank(text), code, "{text}");
    }
}
