//! `kernel`: makes and lists the User-Mode Linux kernels that `--on uml` boots.

use std::io::{IsTerminal as _, Write as _};
use std::time::{Duration, Instant};

use linux::uml::{self, BuildOptions, Progress, UmlError};

use crate::output::Output;
use crate::{BuildArgs, Exit, KernelCommand};

pub(crate) fn kernel(command: &KernelCommand, out: &mut Output) -> Exit {
    match command {
        KernelCommand::Build(args) => build(args, out),
        KernelCommand::List => list(out),
    }
}

/// Says why there is no kernel, or what became of it.
pub(super) fn refused(e: &UmlError, out: &mut Output) -> Exit {
    out.error(e, e.hint.as_deref());
    if e.asked_wrongly { Exit::Usage } else { Exit::Environment }
}

fn list(out: &mut Output) -> Exit {
    let kernels = match uml::kernels() {
        Ok(kernels) => kernels,
        Err(e) => return refused(&e, out),
    };
    for kernel in &kernels {
        out.line(format_args!(
            "{:<12} HZ {:<4} {}  from {}",
            kernel.release,
            uml::HZ,
            kernel.path.display(),
            kernel.source
        ));
    }
    if kernels.is_empty() {
        out.message("no kernel was built yet: `wirelab kernel build` makes one, in some minutes");
    }
    Exit::Ok
}

fn build(args: &BuildArgs, out: &mut Output) -> Exit {
    let options =
        BuildOptions { version: args.version.clone(), source: args.source.clone(), jobs: args.jobs };
    let start = Instant::now();
    let mut bar = Bar { terminal: std::io::stderr().is_terminal(), shown: None, percent: 0 };
    let built = uml::build(&options, &mut |progress| bar.show(&progress, start.elapsed()));
    bar.end();
    match built {
        Ok(kernel) => {
            let took = start.elapsed().as_secs();
            out.line(format_args!(
                "Linux {} in user mode, {} in {} min {:02} s",
                kernel.release,
                kernel.path.display(),
                took / 60,
                took % 60
            ));
            Exit::Ok
        }
        Err(e) => refused(&e, out),
    }
}

/// One line that is drawn over and over on a terminal; elsewhere a line for each step and each tenth.
struct Bar {
    terminal: bool,
    shown: Option<Instant>,
    percent: usize,
}

impl Bar {
    const WIDTH: usize = 40;
    /// Drawing more often only costs.
    const OFTEN: Duration = Duration::from_millis(100);

    fn show(&mut self, progress: &Progress, elapsed: Duration) {
        let text = match progress {
            Progress::Doing(what) => {
                self.shown = None;
                format!("{:>4} s  {what}", elapsed.as_secs())
            }
            Progress::Compiled(done, of) => {
                let percent = done * 100 / of;
                if self.terminal && self.shown.is_some_and(|at| at.elapsed() < Bar::OFTEN)
                    || !self.terminal && (percent < self.percent + 10 && *done > 0)
                {
                    return;
                }
                (self.shown, self.percent) = (Some(Instant::now()), percent);
                let full = done * Bar::WIDTH / of;
                let bar = format!("{}{}", "█".repeat(full), "░".repeat(Bar::WIDTH - full));
                format!("{:>4} s  compiling {bar} {done} of about {of} files", elapsed.as_secs())
            }
        };
        // Nobody needs to know that a progress bar could not be drawn.
        let mut err = std::io::stderr().lock();
        let _ = if self.terminal { write!(err, "\r\x1b[K{text}") } else { writeln!(err, "{text}") };
        let _ = err.flush();
    }

    fn end(&self) {
        if self.terminal {
            let _ = write!(std::io::stderr().lock(), "\r\x1b[K");
        }
    }
}
