//! Makes a User-Mode Linux kernel from Debian's `linux-source` package, or from a kernel tree that is given.
//!
//! The configuration starts from nothing (`allnoconfig`) and has what the lab's scenarios need: it compiles in minutes
//! where `defconfig` takes a quarter of an hour. Nothing of the kernel becomes part of this program.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::{FIXED, INFO, Kernel, PROGRAM, UmlError, cache, supported};
use crate::sys;

/// The version that Debian's newest long-term kernel has, and the one the truth traces are from.
const DEFAULT_VERSION: &str = "6.12";

/// What to build.
#[derive(Clone, Debug, Default)]
pub struct BuildOptions {
    /// Which of Debian's `linux-source-VERSION` packages; by default 6.12.
    pub version: Option<String>,
    /// A kernel tree, or an archive of one, instead of a package.
    pub source: Option<PathBuf>,
    /// Compilers at a time; by default one a processor.
    pub jobs: Option<usize>,
}

/// How far a build is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// What happens now.
    Doing(String),
    /// So many files are compiled, of about so many.
    Compiled(usize, usize),
}

/// The files that a build compiles, about: versions differ by a few.
const FILES: usize = 660;

/// What the kernel is to have besides what `allnoconfig` leaves.
const CONFIG: &str = include_str!("kernel.config");

/// What a build needs, and the Debian package that has it.
const TOOLS: [(&str, &str); 9] = [
    ("make", "make"),
    ("gcc", "gcc"),
    ("ld", "binutils"),
    ("strip", "binutils"),
    ("flex", "flex"),
    ("bison", "bison"),
    ("bc", "bc"),
    ("tar", "tar"),
    ("xz", "xz-utils"),
];

/// Parts of a kernel's archive that this build does not read.
const UNUSED: [&str; 4] =
    ["*/Documentation/[a-zA-JL-Z]*", "*/drivers/gpu/drm/*.[ch]", "*/tools/testing/*", "*/drivers/*.dts*"];

/// Builds a kernel into the cache. What is half done is removed, also on failure.
///
/// # Errors
/// A tool is missing, there is no source, or the compiler failed: each with what to do.
pub fn build(options: &BuildOptions, progress: &mut dyn FnMut(Progress)) -> Result<Kernel, UmlError> {
    supported()?;
    find_tools()?;
    let cache = cache()?;
    let work = std::fs::create_dir_all(&cache)
        .and_then(|()| tempfile::Builder::new().prefix(".build-").tempdir_in(&cache))
        .map_err(|e| {
            let hint = "kernels are kept in $XDG_CACHE_HOME/wirelab/kernels: set it to a folder of yours";
            UmlError::new(format!("no folder can be made in {}: {}", cache.display(), e.kind()), hint)
        })?;
    let (tree, from) = tree(options, work.path(), progress)?;
    progress(Progress::Doing("configuring".into()));
    let out = work.path().join("out");
    std::fs::create_dir(&out).map_err(UmlError::io("the build's folder"))?;
    let wanted = work.path().join("wanted.config");
    std::fs::write(&wanted, CONFIG).map_err(UmlError::io("the configuration"))?;
    let make = |targets: &[&str]| {
        let mut command = Command::new("make");
        command.current_dir(&tree).arg("ARCH=um").arg(format!("O={}", out.display())).args(targets);
        command.env("KCONFIG_ALLCONFIG", &wanted);
        command
    };
    output(make(&["-s", "allnoconfig"]), "configuring")?;
    check_config(&out)?;
    let jobs = options.jobs.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from));
    compile(make(&[&format!("-j{jobs}"), "linux"]), progress)?;
    let release = output(make(&["-s", "kernelrelease"]), "asking for its release")?.trim().to_owned();
    let mut strip = Command::new("strip");
    strip.arg(out.join("linux"));
    output(strip, "strip")?;
    fixed_randomness(&out)?;
    let kernel = Kernel { path: cache.join(&release).join(PROGRAM), release, source: from };
    keep(&kernel, &out, work.path())?;
    Ok(kernel)
}

fn find_tools() -> Result<(), UmlError> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let has = |tool: &str| std::env::split_paths(&path).any(|dir| dir.join(tool).is_file());
    let missing: Vec<(&str, &str)> = TOOLS.into_iter().filter(|(tool, _)| !has(tool)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let tools: Vec<&str> = missing.iter().map(|(tool, _)| *tool).collect();
    let mut packages: Vec<&str> = missing.iter().map(|(_, package)| *package).collect();
    packages.dedup();
    let hint = format!("apt install {} (or your system's packages of these names)", packages.join(" "));
    Err(UmlError::new(format!("building a kernel needs {}", tools.join(", ")), hint))
}

/// The kernel tree to build, and where it is from.
fn tree(
    options: &BuildOptions,
    work: &Path,
    progress: &mut dyn FnMut(Progress),
) -> Result<(PathBuf, String), UmlError> {
    let archive = match &options.source {
        Some(path) if path.is_dir() => {
            let path = std::fs::canonicalize(path).map_err(UmlError::io(path.display().to_string()))?;
            if !path.join(KCONFIG).is_file() {
                return Err(no_source(&path, format!("it has no {KCONFIG}")));
            }
            let from = path.display().to_string();
            return Ok((path, from));
        }
        Some(path) if path.is_file() => path.clone(),
        Some(path) => {
            let why = std::fs::metadata(path)
                .map_or_else(|e| e.to_string(), |_| "it is no file and no folder".into());
            return Err(no_source(path, why));
        }
        None => package(options.version.as_deref().unwrap_or(DEFAULT_VERSION), work, progress)?,
    };
    progress(Progress::Doing(format!("unpacking {}", archive.display())));
    let to = work.join("source");
    std::fs::create_dir(&to).map_err(UmlError::io("the source's folder"))?;
    let mut tar = Command::new("tar");
    tar.arg("xf").arg(&archive).arg("-C").arg(&to).arg("--strip-components=1");
    tar.args(UNUSED.map(|pattern| format!("--exclude={pattern}")));
    output(tar, "tar").map_err(|e| match &options.source {
        Some(path) => no_source(path, e.what),
        None => e,
    })?;
    if !to.join(KCONFIG).is_file() {
        return Err(no_source(&archive, format!("what is in it has no {KCONFIG}")));
    }
    let name = archive.file_name().map_or_else(String::new, |n| n.to_string_lossy().into_owned());
    Ok((to, name))
}

/// What every kernel tree has that can be built for user mode.
const KCONFIG: &str = "arch/um/Kconfig";

fn no_source(path: &Path, why: String) -> UmlError {
    UmlError::asked(
        format!("{} is no kernel's source: {why}", path.display()),
        "a source is a kernel tree (the folder that `make` is called in), or an archive of one such as \
         Debian's /usr/src/linux-source-6.12.tar.xz or kernel.org's linux-6.12.tar.xz",
    )
}

/// The archive in Debian's package: installed, or fetched by `apt-get download`, which needs no rights.
fn package(version: &str, work: &Path, progress: &mut dyn FnMut(Progress)) -> Result<PathBuf, UmlError> {
    // A whole release names the package of its series.
    let name = format!("linux-source-{}", super::series(version));
    let archive = format!("usr/src/{name}.tar.xz");
    let installed = Path::new("/").join(&archive);
    if installed.is_file() {
        return Ok(installed);
    }
    progress(Progress::Doing(format!("fetching Debian's {name}")));
    let mut apt = Command::new("apt-get");
    apt.args(["download", "-q", &name]).current_dir(work);
    output(apt, "apt-get download").map_err(|e| UmlError {
        what: e.what,
        hint: Some(format!(
            "is there a package {name} (`apt-cache search linux-source`)? `--source PATH` takes any kernel tree"
        )),
        asked_wrongly: false,
    })?;
    let entries = std::fs::read_dir(work).map_err(UmlError::io("the build's folder"))?;
    let package = entries.flatten().map(|e| e.path()).find(|p| p.extension().is_some_and(|e| e == "deb"));
    let package =
        package.ok_or_else(|| UmlError::new("apt-get fetched no package", "try `--source PATH`"))?;
    let mut unpack = Command::new("dpkg-deb");
    unpack.arg("-x").arg(package).arg(work.join("package"));
    output(unpack, "dpkg-deb")?;
    Ok(work.join("package").join(archive))
}

/// Every `=y` that was wanted is there: a symbol that another version does not have is worth a word, as scenarios would
/// fail without it in ways that say nothing.
fn check_config(out: &Path) -> Result<(), UmlError> {
    let text = std::fs::read_to_string(out.join(".config")).map_err(UmlError::io(".config"))?;
    let has = |line: &str| text.lines().any(|l| l == line);
    let wanted = CONFIG.lines().filter(|line| line.ends_with("=y"));
    let missing: Vec<&str> = wanted.filter(|line| !has(line)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    Err(UmlError::new(
        format!("this kernel cannot have {}", missing.join(", ")),
        "versions from 5.15 on are known to work; is it a complete kernel tree?",
    ))
}

/// Runs a command to its end; what it printed. Its errors become ours.
fn output(mut command: Command, what: &str) -> Result<String, UmlError> {
    sys::die_with_parent_on_exec(&mut command);
    let out = command.stdin(Stdio::null()).output().map_err(UmlError::io(what))?;
    if out.status.success() {
        return Ok(String::from_utf8_lossy(&out.stdout).into_owned());
    }
    let text = String::from_utf8_lossy(&out.stderr);
    Err(UmlError {
        what: format!("{what} failed: {}", last_lines(&text, 12)),
        hint: None,
        asked_wrongly: false,
    })
}

fn last_lines(text: &str, n: usize) -> String {
    let lines: Vec<&str> = text.trim_end().lines().collect();
    lines[lines.len().saturating_sub(n)..].join("\n")
}

fn compile(mut command: Command, progress: &mut dyn FnMut(Progress)) -> Result<(), UmlError> {
    sys::die_with_parent_on_exec(&mut command);
    let errors = tempfile::NamedTempFile::new().map_err(UmlError::io("a temporary file"))?;
    let to = errors.reopen().map_err(UmlError::io("a temporary file"))?;
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(to)
        .spawn()
        .map_err(UmlError::io("make"))?;
    let mut done = 0;
    progress(Progress::Compiled(0, FILES));
    for line in BufReader::new(child.stdout.take().expect("piped")).lines().map_while(Result::ok) {
        if line.trim_start().starts_with("CC ") {
            done += 1;
            progress(Progress::Compiled(done, FILES.max(done)));
        }
    }
    let status = child.wait().map_err(UmlError::io("make"))?;
    if status.success() {
        return Ok(());
    }
    let text = std::fs::read_to_string(errors.path()).unwrap_or_default();
    Err(UmlError {
        what: format!("the kernel does not compile:\n{}", last_lines(&text, 12)),
        hint: Some("a compiler newer than the kernel may refuse it: try another `--version`".into()),
        asked_wrongly: false,
    })
}

/// Compiles what makes the kernel's randomness the same in every run.
fn fixed_randomness(out: &Path) -> Result<(), UmlError> {
    let source = out.join("fixed.c");
    std::fs::write(&source, include_str!("fixed.c")).map_err(UmlError::io("fixed.c"))?;
    let mut gcc = Command::new("gcc");
    gcc.args(["-O2", "-fPIC", "-shared", "-o"]).arg(out.join(FIXED)).arg(source);
    output(gcc, "gcc").map(drop)
}

/// Puts a kernel in its place whole, or not at all.
fn keep(kernel: &Kernel, out: &Path, work: &Path) -> Result<(), UmlError> {
    let ready = work.join("ready");
    let doing = || UmlError::io("putting the kernel in its place");
    std::fs::create_dir(&ready).map_err(doing())?;
    std::fs::rename(out.join("linux"), ready.join(PROGRAM)).map_err(doing())?;
    std::fs::rename(out.join(FIXED), ready.join(FIXED)).map_err(doing())?;
    let info = serde_json::to_vec_pretty(kernel).expect("plain data");
    std::fs::write(ready.join(INFO), info).map_err(doing())?;
    let place = kernel.path.parent().expect("a folder of its own");
    if place.exists() {
        std::fs::rename(place, work.join("before")).map_err(doing())?;
    }
    std::fs::rename(&ready, place).map_err(doing())
}
