//! Hex dumps that people can read and tests can compare: what golden files and the document hold.

use std::fmt::Write as _;

const WIDTH: usize = 16;

/// `bytes` as lines of offset, hex and text. A run of lines equal to the one before it is `*`; the
/// last line is the length alone.
pub(crate) fn dump(bytes: &[u8]) -> String {
    let mut out = String::new();
    let mut before: Option<&[u8]> = None;
    let mut starred = false;
    for (index, line) in bytes.chunks(WIDTH).enumerate() {
        if before == Some(line) && line.len() == WIDTH {
            if !starred {
                out.push_str("*\n");
            }
            starred = true;
            continue;
        }
        (before, starred) = (Some(line), false);
        writeln!(out, "{:08x}  {:<48} |{}|", index * WIDTH, pairs(line), text(line)).unwrap();
    }
    writeln!(out, "{:08x}", bytes.len()).unwrap();
    out
}

/// The bytes of a dump.
pub(crate) fn parse(dump: &str) -> Vec<u8> {
    let mut bytes: Vec<u8> = Vec::new();
    let mut starred = false;
    for line in dump.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        if line == "*" {
            starred = true;
            continue;
        }
        let mut words = line.split('|').next().unwrap().split_whitespace();
        let offset = usize::from_str_radix(words.next().unwrap(), 16).unwrap();
        while starred && bytes.len() < offset {
            bytes.extend_from_within(bytes.len() - WIDTH..);
        }
        starred = false;
        assert_eq!(bytes.len(), offset, "the line `{line}` does not follow the one before it");
        bytes.extend(words.map(|word| u8::from_str_radix(word, 16).unwrap()));
    }
    bytes
}

/// `bytes` as two-digit numbers with spaces between.
pub(crate) fn pairs(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(" ")
}

fn text(bytes: &[u8]) -> String {
    let readable = |byte: &u8| match byte {
        // A bar would end the text.
        b'|' => '.',
        b' '..=b'~' => char::from(*byte),
        _ => '.',
    };
    bytes.iter().map(readable).collect()
}

#[test]
fn a_dump_reads_back() {
    let mut bytes = vec![0; 100];
    bytes.extend(0..=255);
    bytes.extend([7; 16 * 5]);
    bytes.extend(b"|end|");
    for len in 0..bytes.len() {
        assert_eq!(parse(&dump(&bytes[..len])), &bytes[..len]);
    }
}
