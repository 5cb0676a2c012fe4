//! `--on uml`: the same command line inside a User-Mode Linux kernel, where its hosts on the kernel are in virtual time.

use std::time::Duration;

use linux::uml::{self, Job, Kernel, Ran};

use super::kernel::refused;
use super::save::{can_save, save, unwritable};
use crate::output::Output;
use crate::{DrillArgs, Exit, RunArgs};

/// The longest that a run may take on the machine's own clock: minutes of virtual time take seconds.
pub(super) const LIMIT: Duration = Duration::from_secs(300);

/// What `--on` says inside, when it asks for User-Mode Linux: `uml` there is the kernel itself.
///
/// # Errors
/// It asks for the machine's own kernel as well.
pub(super) fn targets(on: &str) -> Result<Option<String>, String> {
    let words = || on.split(',').map(|part| part.rsplit('=').next().expect("rsplit gives a part").trim());
    if !words().any(|word| word == "uml") {
        return Ok(None);
    }
    if words().any(|word| word == "linux") {
        return Err("a run is on the machine's kernel or in a User-Mode Linux, not on both".into());
    }
    let parts = on.split(',').map(|part| match part.split_once('=') {
        Some((host, word)) if word.trim() == "uml" => format!("{host}=linux"),
        None if part.trim() == "uml" => "linux".to_owned(),
        _ => part.to_owned(),
    });
    Ok(Some(parts.collect::<Vec<_>>().join(",")))
}

/// Runs `run` with the same arguments in `kernel`, `on` instead of what `--on` says.
pub(super) fn run(args: &RunArgs, on: &str, kernel: &Kernel, out: &mut Output) -> Exit {
    const CAPTURE: &str = "capture";
    let name = super::run::short_name(&args.scenario);
    let capture = args.capture(&name);
    if let Some(path) = &capture
        && let Err(e) = can_save(path)
    {
        return unwritable(path, &e, super::run::CAPTURE_HINT, out);
    }
    let mut words = args.words(on, out);
    match &capture {
        Some(path) => {
            words.extend(["--pcap".into(), Job::file(CAPTURE)]);
            words.extend(["--capture-is".into(), path.display().to_string()]);
        }
        None => words.push("--no-pcap".into()),
    }
    let ran = match uml::boot(kernel, &Job { args: words, limit: LIMIT }) {
        Ok(ran) => ran,
        Err(e) => return refused(&e, out),
    };
    if let (Some(path), Ok(bytes)) = (&capture, std::fs::read(ran.file(CAPTURE)))
        && let Err(e) = save(path, |w| w.write_all(&bytes))
    {
        return unwritable(path, &e, super::run::CAPTURE_HINT, out);
    }
    end(&ran, out)
}

/// Runs this very command line in the newest kernel, with `--on linux` for its `--on uml`. The file that `--junit` names is
/// written outside.
pub(super) fn drill(args: &DrillArgs, out: &mut Output) -> Exit {
    const JUNIT: &str = "junit";
    let kernel = match uml::find(None) {
        Ok(kernel) => kernel,
        Err(e) => return refused(&e, out),
    };
    let words = drill_words(std::env::args().skip(1), &Job::file(JUNIT));
    let ran = match uml::boot(&kernel, &Job { args: words, limit: LIMIT }) {
        Ok(ran) => ran,
        Err(e) => return refused(&e, out),
    };
    if let (Some(path), Ok(bytes)) = (&args.junit, std::fs::read(ran.file(JUNIT)))
        && let Err(e) = save(path, |w| w.write_all(&bytes))
    {
        return unwritable(path, &e, "`--junit FILE` says where the XML goes", out);
    }
    end(&ran, out)
}

/// The words inside: another ground, and another place for the file.
fn drill_words(words: impl Iterator<Item = String>, junit: &str) -> Vec<String> {
    let mut inside: Vec<String> = Vec::new();
    for word in words {
        let after = inside.last().map(String::as_str);
        let word = match (after, word.split_once('=')) {
            (Some("--on"), _) => "linux".into(),
            (Some("--junit"), _) => junit.to_owned(),
            (_, Some(("--on", _))) => "--on=linux".into(),
            (_, Some(("--junit", _))) => format!("--junit={junit}"),
            _ => word,
        };
        inside.push(word);
    }
    inside
}

/// Passes on what was written inside, and how it ended.
fn end(ran: &Ran, out: &mut Output) -> Exit {
    out.data(String::from_utf8_lossy(&ran.stdout));
    if !ran.stderr.is_empty() {
        out.message(String::from_utf8_lossy(&ran.stderr).trim_end());
    }
    match ran.status {
        0 => Exit::Ok,
        1 => Exit::Failed,
        2 => Exit::Usage,
        _ => Exit::Environment,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_drill_inside_is_on_linux_and_writes_where_it_may() {
        let inside = |words: &[&str]| drill_words(words.iter().map(|w| (*w).to_owned()), "/x");
        assert_eq!(
            inside(&["drill", "a", "--on", "uml", "--junit", "j.xml", "--json"]),
            ["drill", "a", "--on", "linux", "--junit", "/x", "--json"]
        );
        assert_eq!(
            inside(&["drill", "--on=uml", "--junit=j", "b"]),
            ["drill", "--on=linux", "--junit=/x", "b"]
        );
    }

    #[test]
    fn the_word_uml_means_the_kernel_inside() {
        assert_eq!(targets("stack").unwrap(), None);
        assert_eq!(targets("client=stack,server=linux").unwrap(), None);
        assert_eq!(targets("uml").unwrap().unwrap(), "linux");
        assert_eq!(targets("client=stack, server=uml").unwrap().unwrap(), "client=stack, server=linux");
        assert!(targets("client=linux,server=uml").is_err());
    }
}
