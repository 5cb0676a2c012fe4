//! What the benchmarks share: the command line, the clock, and ours and theirs in turn.

pub(crate) mod smol;

use std::collections::BTreeMap;

/// What was asked for on the command line.
#[derive(Clone, Debug)]
pub(crate) struct Args {
    rows: Vec<String>,
    values: BTreeMap<String, u64>,
}

impl Args {
    /// Reads the command line.
    pub(crate) fn parse() -> Args {
        let words = std::env::args().skip(1).filter(|word| !word.starts_with("--"));
        let (values, rows): (Vec<String>, Vec<String>) = words.partition(|word| word.contains('='));
        let values = values.iter().map(|pair| {
            let (name, value) = pair.split_once('=').expect("partitioned by it");
            (name.to_string(), value.parse().unwrap_or_else(|_| panic!("{pair}: a number")))
        });
        Args { rows, values: values.collect() }
    }

    pub(crate) fn number(&self, name: &str, default: u64) -> u64 {
        self.values.get(name).copied().unwrap_or(default)
    }

    /// `amount` of work, made smaller by `scale=`.
    pub(crate) fn scaled(&self, amount: u64) -> u64 {
        (amount / self.number("scale", 1)).max(1)
    }

    fn wants(&self, row: &str) -> bool {
        self.rows.is_empty() || self.rows.iter().any(|r| r == row)
    }
}

/// CPU time of this thread, in seconds.
pub(crate) fn cpu() -> f64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 * 1e-9 // displayed only
}

/// What a row is held to: factors of the peer's figure, or figures.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bar {
    pub(crate) must: f64,
    pub(crate) aim: f64,
    pub(crate) is_ratio: bool,
}

impl Bar {
    #[expect(clippy::allow_attributes, reason = "each benchmark is a crate of its own")]
    #[allow(dead_code, reason = "not every benchmark has such a row")]
    pub(crate) fn ratio(must: f64, aim: f64) -> Bar {
        Bar { must, aim, is_ratio: true }
    }

    pub(crate) fn figure(must: f64, aim: f64) -> Bar {
        Bar { must, aim, is_ratio: false }
    }
}

fn median(values: &mut [f64]) -> (f64, f64, f64) {
    values.sort_by(f64::total_cmp);
    (values[values.len() / 2], values[0], values[values.len() - 1])
}

/// Lets ours and theirs take turns and prints both medians, their ratio, and how that stands to the bar.
pub(crate) fn compare(
    args: &Args,
    row: &str,
    unit: &str,
    bar: Bar,
    mut ours: impl FnMut() -> f64,
    theirs: Option<&mut dyn FnMut() -> f64>,
) {
    if !args.wants(row.split(' ').next().expect("a row has a name")) {
        return;
    }
    let pairs = args.number("pairs", 5);
    let (mut a, mut b, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    let mut theirs = theirs;
    let alone = args.number("peer", 1) == 0;
    for _ in 0..pairs {
        a.push(ours());
        if let Some(theirs) = theirs.as_mut().filter(|_| !alone) {
            b.push(theirs());
            ratios.push(a[a.len() - 1] / b[b.len() - 1]);
        }
    }
    let (mid, least, most) = median(&mut a);
    print!("{row:<34} {mid:>12.2} {unit} ({least:.2}-{most:.2})");
    let mut value = mid;
    if !b.is_empty() {
        let (mid, least, most) = median(&mut b);
        let (ratio, ..) = median(&mut ratios);
        print!("  smoltcp {mid:.2} ({least:.2}-{most:.2})  {ratio:.2}x");
        if bar.is_ratio {
            value = ratio;
        }
    }
    let verdict = if bar.is_ratio && b.is_empty() {
        "not compared"
    } else if value >= bar.aim {
        "aim met"
    } else if value >= bar.must {
        "must met"
    } else {
        "BELOW MUST"
    };
    println!("  [must {} aim {}] {verdict}", bar.must, bar.aim);
}
