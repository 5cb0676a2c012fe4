//! `--on uml`: the same command line inside a User-Mode Linux kernel, where its hosts on the kernel are in virtual time.

use std::time::Duration;

use linux::uml::{self, Job, Kernel, Ran};

use super::kernel::refused;
use super::save::{can_save, save, unwritable};
use crate::output::Output;
use crate::{Exit, RunArgs};

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

/// Runs this very command line in the newest kernel, with `--on linux` for its `--on uml`.
pub(super) fn run_again(out: &mut Output) -> Exit {
    let kernel = match uml::find(None) {
        Ok(kernel) => kernel,
        Err(e) => return refused(&e, out),
    };
    let mut words: Vec<String> = std::env::args().skip(1).collect();
    for i in 0..words.len() {
        if words[i] == "--on=uml" {
            words[i] = "--on=linux".into();
        } else if words[i] == "uml" && i > 0 && words[i - 1] == "--on" {
            words[i] = "linux".into();
        }
    }
    match uml::boot(&kernel, &Job { args: words, limit: LIMIT }) {
        Ok(ran) => end(&ran, out),
        Err(e) => refused(&e, out),
    }
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
    fn the_word_uml_means_the_kernel_inside() {
        assert_eq!(targets("stack").unwrap(), None);
        assert_eq!(targets("client=stack,server=linux").unwrap(), None);
        assert_eq!(targets("uml").unwrap().unwrap(), "linux");
        assert_eq!(targets("client=stack, server=uml").unwrap().unwrap(), "client=stack, server=linux");
        assert!(targets("client=linux,server=uml").is_err());
    }
}
