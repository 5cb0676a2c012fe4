//! What people read when a scenario file is wrong. Each file of `tests/bad` has the messages it gives beside it;
//! `UPDATE=1 cargo test -p scenario --test bad_files` writes them anew, and a person reviews the difference.

use std::path::Path;

use scenario::{Overrides, file, plan};

fn messages(name: &str, text: &str) -> String {
    let found = match file::parse(text, name) {
        Ok(file) => plan(&file, &Overrides::default()).expect_err("the file is wrong"),
        Err(found) => found,
    };
    found.iter().map(|d| d.render(false) + "\n").collect()
}

fn holds(name: &str) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/bad");
    let read = |ending: &str| std::fs::read_to_string(folder.join(format!("{name}.{ending}")));
    let text = read("toml").expect("the file is there");
    let now = messages(&format!("{name}.toml"), &text);
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(folder.join(format!("{name}.txt")), &now).expect("the folder can be written");
    }
    let wanted = read("txt").unwrap_or_default();
    assert_eq!(now, wanted, "\n--- now ---\n{now}");
}

#[test]
fn syntax_errors_are_shown_all_at_once() {
    holds("syntax");
}

#[test]
fn unknown_missing_and_mistyped_fields_are_shown_all_at_once() {
    holds("shape");
}

#[test]
fn unknown_names_and_doubled_addresses_are_shown_with_what_was_meant() {
    holds("names");
}

#[test]
fn bad_durations_rates_shares_and_sysctls_are_underlined() {
    holds("values");
}

#[test]
fn errors_inside_strings_are_underlined_where_they_are() {
    holds("strings");
}

const GOOD: &str = r#"
question = "?"
[hosts.client]
address = "192.0.2.1/24"
[hosts.server]
address = "192.0.2.2/24"
"#;

fn overrides(change: impl FnOnce(&mut Overrides)) -> String {
    let mut overrides = Overrides::default();
    change(&mut overrides);
    let file = file::parse(GOOD, "good.toml").expect("the file is right");
    let found = plan(&file, &overrides).expect_err("the option is wrong");
    found.iter().map(|d| d.render(false)).collect()
}

#[test]
fn options_of_the_command_line_are_underlined_like_files() {
    let text = overrides(|o| {
        o.sets.push("sever:net.ipv4.ip_default_ttl=3".into());
        o.sets.push("server:net.ipv4.ip_default_tll=3".into());
        o.faults.push(("drop".into(), "clent: 2nd udp".into()));
        o.faults.push(("delay".into(), "200 client: udp".into()));
        o.kernel = Some("7.0".into());
    });
    for part in [
        "--set:1:1",
        "no host is named `sever`",
        "did you mean `server`?",
        "net.ipv4.ip_default_ttl",
        "--drop:1:1",
        "did you mean `client`?",
        "the duration `200` has no unit",
        "no kernel profile `7.0`",
    ] {
        assert!(text.contains(part), "{part} is not in\n{text}");
    }
}
