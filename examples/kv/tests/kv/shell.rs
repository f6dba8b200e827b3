//! The command, each verb in a process of its own.

use crate::scratch;
use std::path::Path;
use std::process::{Command, Output};

fn run(dir: &Path, verb: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_siding-kv")).arg(dir).args(verb).output().unwrap()
}

#[test]
fn each_call_finds_what_the_one_before_left() {
    let dir = scratch();
    let says = |verb: &[&str], code, text: &str| {
        let output = run(dir.path(), verb);
        let (out, err) = (String::from_utf8_lossy(&output.stdout), &output.stderr);
        let shown = format!("{out}{}", String::from_utf8_lossy(err));
        assert_eq!(output.status.code(), Some(code), "{verb:?}: {shown}");
        assert!(shown.contains(text), "{verb:?}: {shown}");
    };
    says(&["put", "a", "old"], 0, "");
    says(&["add", "n", "-5"], 0, "-5");
    says(&["prepare", "g", "a", "new"], 0, "");
    says(&["get", "a"], 3, "in doubt");
    says(&["doubts"], 0, "g\ta\tnew");
    says(&["snapshot"], 0, "snapshot-0000000000000001");
    says(&["commit", "g"], 0, "");
    says(&["commit", "g"], 3, "no unit is in doubt");
    says(&["scan"], 0, "a\tnew\nn\t-5\n");
    says(&["delete", "a"], 0, "");
    says(&["scan", "a"], 0, "");
    says(&["why"], 0, "redo position");
    says(&["add", "n", "five"], 3, "no number");
    says(&["sing"], 2, "siding-kv DIR VERB");
    says(&[], 2, "siding-kv DIR VERB");
}
