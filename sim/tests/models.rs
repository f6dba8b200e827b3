//! The executable models: they hold, and each of their wrong versions is found.

use std::path::Path;
use std::process::Command;

#[test]
fn the_model_of_backups_holds_and_its_mutants_do_not() {
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/backupmodel.py");
    let output = match Command::new("python3").arg(model).arg("400").output() {
        Ok(output) => output,
        Err(_) => {
            println!("SKIPPED: needs python3");
            return;
        }
    };
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(said.lines().count(), 10, "{said}");
    assert!(said.contains("failures=0") && said.contains("floor_ignores_commits"), "{said}");
}
