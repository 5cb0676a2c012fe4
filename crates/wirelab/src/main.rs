//! The command line: what is asked, and where the answer goes. Data on stdout, everything else on stderr.

mod commands;
mod output;
mod words;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, CommandFactory as _, Parser, Subcommand};

use output::{Color, Output};

/// Drop any packet; see exactly what Linux does.
#[derive(Parser)]
#[command(version, about, propagate_version = true, after_help = EXIT_STATUS)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    /// Colour: when stdout is a terminal, always, or never.
    #[arg(long, global = true, value_enum, default_value_t = Color::Auto)]
    color: Color,
    /// Draw with ASCII characters only.
    #[arg(long, global = true)]
    ascii: bool,
}

const EXIT_STATUS: &str = "\
Exit status: 0 every expectation held and every fault fired; 1 one did not, or the kernel disagrees;
2 the command line or a file is wrong; 3 this machine lacks what the command needs (rights, tools).";

#[derive(Subcommand)]
enum Command {
    /// Run a scenario: the ladder, why, and a capture.
    Run(Box<RunArgs>),
    /// List the catalogue: every question that can be run.
    List {
        /// Only names and questions that contain this.
        words: Vec<String>,
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Find the row that answers a question, in English or Chinese.
    Ask {
        /// The question, in any words.
        #[arg(required = true)]
        words: Vec<String>,
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Run every row of the catalogue on our stack.
    Catalogue(CatalogueArgs),
    /// Run a scenario's variants side by side, each with several seeds: medians and their spread, as a table and as bars.
    Compare(CompareArgs),
    /// Print a scenario's file.
    Show {
        /// Its name; the last part is enough.
        name: String,
    },
    /// Draw the ladder of a capture (pcap or pcapng; tcpdump's, tshark's, ours).
    Ladder(LadderArgs),
    /// Run scenarios on our stack and on real kernels, and say where they differ.
    Twin(TwinArgs),
    /// Run the experiments behind kernel traces again, as scenarios, and hold them to the traces.
    Replay(ReplayArgs),
    /// Make and list kernels for virtual time: User-Mode Linux.
    #[command(subcommand)]
    Kernel(KernelCommand),
    /// Run packetdrill scripts: on our stack in virtual time, or on this machine's kernel.
    Drill(Box<DrillArgs>),
    /// The scoreboard: what kernels, kernel traces and packetdrill scripts say of our stack.
    Score(ScoreArgs),
    /// Fetch a page as a browser does: from the URL to the page, phase by phase, on a world of its own.
    Get(Box<GetArgs>),
    /// Print the JSON Schema of scenario files, for editors.
    Schema,
    /// The process inside a namespace that makes system calls for a scenario.
    #[command(name = "__agent", hide = true)]
    Agent,
}

/// Arguments of `compare`.
#[derive(Args)]
pub(crate) struct CompareArgs {
    /// A name from the catalogue (the last part is enough), or a path to a scenario file with a table `[compare]`.
    scenario: String,
    /// How many seeds each variant is run with; what the file says, or 5, unless given.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=i64::from(scenario::compare::MAX_SEEDS)))]
    seeds: Option<u32>,
    /// The first seed; the file's unless given.
    #[arg(long, value_name = "N", value_parser = words::seed, allow_negative_numbers = true)]
    seed: Option<u64>,
    /// Print one JSON value.
    #[arg(long)]
    json: bool,
}

/// Arguments of `run`.
#[derive(Args)]
pub(crate) struct RunArgs {
    /// A name from the catalogue (the last part is enough), or a path to a scenario file.
    scenario: String,
    /// The kind of every host: `stack`, `linux`, or a mix such as `client=stack,server=linux`.
    #[arg(long, default_value = "stack", value_name = "KIND")]
    on: String,
    /// Run on our stack and on the real kernel (or on what `--on` says) and compare.
    #[arg(long)]
    twin: bool,
    /// All randomness of the run comes from this number.
    #[arg(long, value_name = "N", value_parser = words::seed, allow_negative_numbers = true)]
    seed: Option<u64>,
    /// Set a sysctl, such as `server:net.ipv4.icmp_ratelimit=0`; `*` for every host. May be repeated.
    #[arg(long, value_name = "HOST:SYSCTL=VALUE")]
    set: Vec<String>,
    /// Drop packets: `[PLACE:] [ORDINAL] FILTER`, such as `server: 2nd arp.opcode == 2`. May be repeated.
    #[arg(long, value_name = "FAULT")]
    drop: Vec<String>,
    /// Delay packets: `200ms client->server: 1st udp`.
    #[arg(long, value_name = "FAULT")]
    delay: Vec<String>,
    /// Duplicate packets.
    #[arg(long, value_name = "FAULT")]
    duplicate: Vec<String>,
    /// Flip a bit in packets.
    #[arg(long, value_name = "FAULT")]
    corrupt: Vec<String>,
    /// Whose behaviour our stack shows: 6.18 (the default), 6.12, 5.15, 4.4.
    #[arg(long, value_name = "VERSION")]
    kernel: Option<String>,
    /// Where the capture goes; by default NAME.pcapng here.
    #[arg(long, value_name = "FILE")]
    pcap: Option<PathBuf>,
    /// The capture has what this host's interfaces saw, as tcpdump there would; by default what every interface saw.
    #[arg(long, value_name = "HOST", conflicts_with = "no_pcap")]
    pcap_of: Option<String>,
    /// Write no capture.
    #[arg(long, conflicts_with = "pcap")]
    no_pcap: bool,
    /// What the output calls the capture: its name outside a User-Mode Linux.
    #[arg(long, value_name = "FILE", hide = true)]
    capture_is: Option<PathBuf>,
    /// Print one JSON value instead of the ladder.
    #[arg(long)]
    json: bool,
    /// Print nothing but what went wrong.
    #[arg(long, short, conflicts_with = "json")]
    quiet: bool,
    /// Show every packet: no folding of repetitions.
    #[arg(long)]
    unfold: bool,
}

impl RunArgs {
    /// Where the capture goes, if there is one.
    fn capture(&self, name: &str) -> Option<PathBuf> {
        match &self.pcap {
            Some(path) => Some(path.clone()),
            None if self.no_pcap || self.quiet || self.json => None,
            None => Some(PathBuf::from(format!("{name}.pcapng"))),
        }
    }

    /// The same command line without its capture, with another `--on`.
    fn words(&self, on: &str, out: &Output) -> Vec<String> {
        let mut words: Vec<String> = vec!["run".into(), self.scenario.clone(), "--on".into(), on.into()];
        let lists = [
            ("--set", &self.set),
            ("--drop", &self.drop),
            ("--delay", &self.delay),
            ("--duplicate", &self.duplicate),
            ("--corrupt", &self.corrupt),
        ];
        for (option, values) in lists {
            words.extend(values.iter().flat_map(|value| [option.to_owned(), value.clone()]));
        }
        let values = [
            ("--seed", self.seed.map(|n| n.to_string())),
            ("--kernel", self.kernel.clone()),
            ("--pcap-of", self.pcap_of.clone()),
        ];
        for (option, value) in values {
            words.extend(value.into_iter().flat_map(|value| [option.to_owned(), value]));
        }
        let switches = [
            ("--twin", self.twin),
            ("--json", self.json),
            ("--quiet", self.quiet),
            ("--unfold", self.unfold),
            ("--ascii", !out.unicode),
        ];
        words.extend(switches.iter().filter(|(_, on)| *on).map(|(switch, _)| (*switch).to_owned()));
        words.extend(["--color".into(), if out.color { "always" } else { "never" }.into()]);
        words
    }
}

/// Arguments of `twin`.
#[derive(Args)]
pub(crate) struct TwinArgs {
    /// Names from the catalogue, or paths to scenario files.
    #[arg(required_unless_present = "all")]
    scenarios: Vec<String>,
    /// Every row of the catalogue that the kernel must agree with.
    #[arg(long, conflicts_with = "scenarios")]
    all: bool,
    /// Which kernels: versions that `wirelab kernel list` shows, and `host` for this machine's own (in real time). By
    /// default the newest User-Mode Linux, or `host` where there is none.
    #[arg(long, value_name = "VERSION", value_delimiter = ',', value_parser = words::version_or_host)]
    kernel: Vec<String>,
    /// Twins at a time; by default one a processor.
    #[arg(long, value_name = "N", value_parser = words::jobs, allow_negative_numbers = true)]
    jobs: Option<usize>,
    /// Write the verdicts to this file, in the form of `scenarios/verdicts.tsv`; what it says of other kernels stays.
    #[arg(long, value_name = "FILE")]
    write: Option<PathBuf>,
    /// One JSON value instead of lines.
    #[arg(long)]
    json: bool,
}

/// Arguments of `replay`.
#[derive(Args)]
pub(crate) struct ReplayArgs {
    /// Traces, or folders of them (`*.txt`), such as crates/stack/tests/truth/traces-6.12-uml.
    #[arg(required = true, value_name = "FILE|DIR")]
    paths: Vec<PathBuf>,
    /// `stack`; `uml`: a User-Mode Linux kernel, in virtual time; or `linux`: the kernel of this machine.
    #[arg(long, default_value = "stack", value_name = "KIND")]
    on: String,
    /// Which User-Mode Linux; the newest unless said.
    #[arg(long, value_name = "VERSION", value_parser = words::version)]
    kernel: Option<String>,
    /// Only these traces: `4h2`, or `4*` for all of 4.
    #[arg(long, value_name = "ID", value_delimiter = ',')]
    only: Vec<String>,
    /// Experiments side by side; by default one a processor.
    #[arg(long, short, value_name = "N", value_parser = words::jobs, allow_negative_numbers = true)]
    jobs: Option<usize>,
    /// Keep the verdicts in this file, in the form of `scenarios/replays.tsv`.
    #[arg(long, value_name = "FILE")]
    write: Option<PathBuf>,
    /// Fail only when a verdict is another one than this file keeps.
    #[arg(long, value_name = "FILE", conflicts_with = "write")]
    check: Option<PathBuf>,
    /// Run nothing: write the experiments as scenario files into this folder.
    #[arg(long, value_name = "DIR", conflicts_with_all = ["write", "check", "json"])]
    scenarios: Option<PathBuf>,
    /// One JSON value instead of lines.
    #[arg(long)]
    json: bool,
}

/// What `kernel` does.
#[derive(Subcommand)]
pub(crate) enum KernelCommand {
    #[command(disable_version_flag = true)]
    /// Build a User-Mode Linux kernel into the cache. Needs gcc, make, flex, bison, bc; no rights.
    Build(BuildArgs),
    /// The kernels in the cache.
    List,
}

/// Arguments of `kernel build`.
#[derive(Args)]
pub(crate) struct BuildArgs {
    /// Which of Debian's linux-source packages: 6.12 (the default), 6.1, …
    #[arg(long, value_name = "VERSION", conflicts_with = "source", value_parser = words::version)]
    version: Option<String>,
    /// A kernel tree, or a .tar.xz of one, instead of Debian's package.
    #[arg(long, value_name = "PATH")]
    source: Option<PathBuf>,
    /// Compilers at a time; by default one a processor.
    #[arg(long, short, value_name = "N", value_parser = words::jobs, allow_negative_numbers = true)]
    jobs: Option<usize>,
}

/// Arguments of `catalogue`.
#[derive(Args)]
pub(crate) struct CatalogueArgs {
    /// Write the page with every row's ladder and answer, such as docs/catalogue.md.
    #[arg(long, value_name = "FILE", conflicts_with = "check")]
    write: Option<PathBuf>,
    /// Fail when this page is not the one that would be written.
    #[arg(long, value_name = "FILE")]
    check: Option<PathBuf>,
    /// Rows at a time; by default one a processor.
    #[arg(long, value_name = "N", value_parser = words::jobs, allow_negative_numbers = true)]
    jobs: Option<usize>,
}

/// Arguments of `ladder`.
#[derive(Args)]
pub(crate) struct LadderArgs {
    /// A pcap or pcapng file.
    file: PathBuf,
    /// Only packets that match this display filter.
    #[arg(long, short = 'Y', value_name = "FILTER")]
    filter: Option<String>,
    /// Print one JSON value instead of the ladder.
    #[arg(long)]
    json: bool,
    /// Show every packet: no folding of repetitions.
    #[arg(long)]
    unfold: bool,
}

/// Arguments of `score`.
#[derive(Args)]
pub(crate) struct ScoreArgs {
    /// Count packetdrill scripts (`*.pkt`) below this folder now, such as google/packetdrill's gtests/net; by default the
    /// figures that were kept.
    #[arg(long, value_name = "DIR")]
    packetdrill: Option<PathBuf>,
    /// Run these scripts on this machine's kernel, too (root, minutes).
    #[arg(long, requires = "packetdrill")]
    judge: bool,
    /// Keep the figures of the scripts in this file, in the form of `scenarios/packetdrill.tsv`.
    #[arg(long, requires = "packetdrill", value_name = "FILE")]
    write: Option<PathBuf>,
    /// Print one JSON value.
    #[arg(long)]
    json: bool,
}

/// Arguments of `get`.
#[derive(Args)]
pub(crate) struct GetArgs {
    /// What you would type into a browser. The world has shop.example, www.shop.example and cdn.example.
    url: String,
    /// How often the page is visited, two seconds apart.
    #[arg(long, default_value_t = 2, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=20))]
    visits: u8,
    /// The browser's HTTP: 1.1, 2 (the default, where the server has it) or 3, without asking whether it is there.
    #[arg(long, value_name = "VERSION")]
    http: Option<String>,
    /// The server says that it has HTTP/3, and the browser's later connections go by it.
    #[arg(long)]
    alt_svc: bool,
    /// The browser's TLS: 1.2, 1.3, or 1.2-rsa (static RSA, needs BoringSSL); 1.2 and 1.3 are offered unless given.
    #[arg(long, value_name = "VERSION")]
    tls: Option<String>,
    /// TLS 1.2 with False Start. Needs BoringSSL.
    #[arg(long)]
    false_start: bool,
    /// TLS 1.3 with data in the first flight of a resumed session (0-RTT).
    #[arg(long)]
    early_data: bool,
    /// TCP Fast Open: what is said first leaves with the SYN, once the server gave a cookie.
    #[arg(long)]
    fast_open: bool,
    /// Random loss on the home's access link, such as `1%`.
    #[arg(long, value_name = "SHARE")]
    loss: Option<String>,
    /// Round trip time between the client and the origin, such as `100ms`; 40 ms unless given. All links keep their share.
    #[arg(long, value_name = "TIME")]
    rtt: Option<String>,
    /// The access link's rate, such as `5mbit`; 50 Mbit/s unless given.
    #[arg(long, value_name = "RATE")]
    rate: Option<String>,
    /// Set a sysctl, such as `client:net.ipv4.tcp_slow_start_after_idle=0`; `*` for every host. May be repeated.
    #[arg(long, value_name = "HOST:SYSCTL=VALUE")]
    set: Vec<String>,
    /// Drop packets: `[PLACE:] [ORDINAL] FILTER`, such as `client: 1st tcp.flags.syn == 1`. May be repeated.
    #[arg(long, value_name = "FAULT")]
    drop: Vec<String>,
    /// All randomness of the run comes from this number.
    #[arg(long, value_name = "N", value_parser = words::seed, allow_negative_numbers = true)]
    seed: Option<u64>,
    /// Variants side by side, such as `http1.1,http2,http3,http2+tls1.2,early-data,no-cache,rtt=100ms`.
    #[arg(long, value_name = "VARIANTS", value_delimiter = ',')]
    compare: Vec<String>,
    /// Write what the client's interface saw, with the secrets that decrypt it.
    #[arg(long, value_name = "FILE")]
    pcap: Option<PathBuf>,
    /// Write a HAR 1.2 file.
    #[arg(long, value_name = "FILE")]
    har: Option<PathBuf>,
    /// Print one JSON value.
    #[arg(long)]
    json: bool,
    /// Show every packet of every phase.
    #[arg(long)]
    all: bool,
}

/// Arguments of `drill`.
#[derive(Args)]
pub(crate) struct DrillArgs {
    /// Scripts, or folders of them (`*.pkt`).
    #[arg(required = true, value_name = "FILE|DIR")]
    paths: Vec<PathBuf>,
    /// `stack`; `linux`: the kernel of this machine, in a namespace of its own (root, or where
    /// user namespaces are allowed); or `uml`: a User-Mode Linux kernel,
    /// in virtual time.
    #[arg(long, default_value = "stack", value_name = "KIND")]
    on: String,
    /// Kinds of address: plain (packetdrill's defaults), ipv4, ipv4-mapped-ipv6, ipv6, or all three.
    #[arg(long, default_value = "plain", value_name = "LIST")]
    variant: String,
    /// Let this build of google/packetdrill judge our stack too, and say where the two judges differ.
    #[arg(long, value_name = "PACKETDRILL")]
    referee: Option<PathBuf>,
    /// The plug-in for it; `libdrill_so.so` beside this program unless said.
    #[arg(long, value_name = "FILE")]
    plugin: Option<PathBuf>,
    /// Replace a word in the scripts by a value. May be repeated.
    #[arg(long, short = 'D', value_name = "SYMBOL=VALUE")]
    define: Vec<String>,
    /// An option of packetdrill, such as `tolerance_usecs=10000`; `--tolerance_usecs=10000` is the same. May be repeated.
    #[arg(long, short, value_name = "NAME[=VALUE]")]
    option: Vec<String>,
    /// Whose behaviour our stack shows: 6.18 (the default), 6.12, 5.15, 4.4.
    #[arg(long, value_name = "VERSION")]
    kernel: Option<String>,
    /// Ticks a second of our stack's timers: 100, 250, 300, 1000; 0 for exact timers.
    #[arg(long, default_value_t = 1000, value_name = "N", value_parser = words::hz, allow_negative_numbers = true)]
    hz: u32,
    /// All randomness of our stack comes from this number.
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = words::seed, allow_negative_numbers = true)]
    seed: u64,
    /// Scripts side by side; every core unless said.
    #[arg(long, short, value_name = "N", value_parser = words::jobs, allow_negative_numbers = true)]
    jobs: Option<usize>,
    /// Print one JSON value: every script with what happened.
    #[arg(long)]
    json: bool,
    /// Write JUnit XML for a CI server.
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
    /// Show every packet and call.
    #[arg(long, short)]
    verbose: bool,
    /// No ladder around a failure.
    #[arg(long, short)]
    brief: bool,
    /// Print failures and the count only.
    #[arg(long, short)]
    quiet: bool,
}

/// How a command ended; the number is the exit status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// As expected.
    Ok = 0,
    /// An expectation did not hold, a fault did not fire, or the kernel disagrees.
    Failed = 1,
    /// The command line or a file is wrong.
    Usage = 2,
    /// The machine lacks what the command needs.
    Environment = 3,
}

fn main() -> ExitCode {
    // Before anything else: the agent enters a namespace, which only a process without threads can.
    if let Some(code) = linux::uml::guest_main().or_else(linux::agent_main) {
        return code;
    }
    let cli = match Cli::try_parse_from(words::with_packetdrill_options(std::env::args_os(), &Cli::command()))
    {
        Ok(cli) => cli,
        Err(e) => {
            let status = if e.use_stderr() { Exit::Usage } else { Exit::Ok };
            // Nothing can be done when even the message cannot be written.
            let _ = e.print();
            return ExitCode::from(status as u8);
        }
    };
    let mut out = Output::new(cli.color, cli.ascii);
    let exit = match cli.command {
        Command::Run(args) => commands::run::run(&args, &mut out),
        Command::List { words, json } => commands::list::list(&words, json, &mut out),
        Command::Ask { words, json } => commands::ask::ask(&words, json, &mut out),
        Command::Catalogue(args) => commands::catalogue::catalogue(&args, &mut out),
        Command::Compare(args) => commands::compare::compare(&args, &mut out),
        Command::Show { name } => commands::list::show(&name, &mut out),
        Command::Ladder(args) => commands::ladder::ladder(&args, &mut out),
        Command::Twin(args) => commands::twin::twin(&args, &mut out),
        Command::Replay(args) => commands::replay::replay(&args, &mut out),
        Command::Kernel(command) => commands::kernel::kernel(&command, &mut out),
        Command::Drill(args) => commands::drill::drill(&args, &mut out),
        Command::Score(args) => commands::score::score(&args, &mut out),
        Command::Get(args) => commands::get::get(&args, &mut out),
        Command::Schema => commands::list::schema(&mut out),
        Command::Agent => unreachable!("taken before the arguments were parsed"),
    };
    ExitCode::from(exit as u8)
}
