//! Names of positions.

use crate::document::check_layout;
use crate::samples;
use siding_wal::format::{MAX_LABEL, MarkPayload, label_of, label_payload};

#[test]
fn a_label_is_as_documented() {
    let mark = samples::mark();
    let bytes = label_payload(&mark, "before the import");
    let fields =
        [("mark", mark.encode()), ("name_len", vec![17]), ("name", b"before the import".to_vec())];
    check_layout("Label", &bytes, &fields);
}

#[test]
fn a_label_is_a_mark_with_a_name() {
    let mark = samples::mark();
    for name in ["a", "Größe", &"x".repeat(MAX_LABEL)] {
        let bytes = label_payload(&mark, name);
        assert_eq!(label_of(&bytes), Some(name));
        assert_eq!(MarkPayload::decode(&bytes).as_ref(), Ok(&mark));
    }
}

#[test]
fn what_is_no_name_is_none() {
    let mark = samples::mark().encode();
    let behind = |bytes: &[u8]| [&mark, bytes].concat();
    assert_eq!(label_of(&mark), None);
    for bytes in [&[0][..], &[3, b'a', b'b'], &[1, 0xFF]] {
        assert_eq!(label_of(&behind(bytes)), None, "{bytes:?}");
    }
    assert_eq!(label_of(&[]), None);
}
