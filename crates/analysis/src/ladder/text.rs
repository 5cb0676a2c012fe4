//! The ladder as text: two hosts with their states outside, three with lifelines, more as a list.

mod packets;

use packets::remarks;

use super::canvas::{Canvas, Style, cut, width};
use super::{EventKind, EventRow, Ladder, Row, RowKind};

/// The characters of a picture.
struct Glyphs {
    line: &'static str,
    right: &'static str,
    left: &'static str,
    lost: &'static str,
    lifeline: char,
    crossing: &'static str,
    also: &'static str,
    open: &'static str,
    unicode: bool,
}

const UNICODE: Glyphs = Glyphs {
    line: "─",
    right: "▶",
    left: "◀",
    lost: "╳",
    lifeline: '│',
    crossing: "┼",
    also: "●",
    open: "?",
    unicode: true,
};

const ASCII: Glyphs = Glyphs {
    line: "-",
    right: ">",
    left: "<",
    lost: "x",
    lifeline: '|',
    crossing: "+",
    also: "*",
    open: "?",
    unicode: false,
};

struct Layout<'a> {
    ladder: &'a Ladder,
    glyphs: &'a Glyphs,
    width: usize,
    color: bool,
    number_width: usize,
    time_digits: usize,
    time_width: usize,
    form: Form,
}

enum Form {
    /// Labels left and right of the arrows: where arrows begin, and one past where they end.
    Pair { arrows: (usize, usize) },
    /// A lifeline per host.
    Lanes { at: Vec<usize> },
    /// `client -> router  words`.
    List { names: usize },
}

pub(super) fn render(ladder: &Ladder, width: usize, color: bool, unicode: bool) -> String {
    let layout = Layout::of(ladder, width, color, if unicode { &UNICODE } else { &ASCII });
    let mut lines = Vec::new();
    if let Some(title) = &ladder.title {
        for line in wrap(title, width) {
            let mut c = Canvas::new(width);
            c.put(0, &line, Style::Bold);
            lines.push(c.finish(color));
        }
        lines.push(String::new());
    }
    layout.header(&mut lines);
    for row in &ladder.rows {
        layout.row(row, &mut lines);
    }
    if !ladder.hidden.is_empty() {
        let n = ladder.hidden.len();
        let text = format!(
            "not shown: {n} packets with which IPv6 sets itself up on the links ({})",
            numbers(&ladder.hidden)
        );
        lines.extend(wrap(&text, width));
    }
    for (i, fault) in ladder.faults.iter().enumerate() {
        for (n, line) in wrap(&format!("fault {}  {fault}", i + 1), width - 9).iter().enumerate() {
            lines.push(if n == 0 { line.clone() } else { format!("         {line}") });
        }
    }
    let mut text = lines.join("\n");
    text.push('\n');
    text
}

/// `#1, #2, #7 to #24`.
fn numbers(all: &[u32]) -> String {
    let mut runs: Vec<(u32, u32)> = Vec::new();
    for &n in all {
        match runs.last_mut() {
            Some((_, last)) if *last + 1 == n => *last = n,
            _ => runs.push((n, n)),
        }
    }
    let texts: Vec<String> =
        runs.iter().map(|(a, b)| if a == b { format!("#{a}") } else { format!("#{a} to #{b}") }).collect();
    texts.join(", ")
}

/// Decimal places that tell all times of the ladder apart, 3 to 6.
fn digits(ladder: &Ladder) -> usize {
    let fits = |d: u32| ladder.rows.iter().all(|r| r.at_ns % 10u64.pow(9 - d) == 0);
    (3..6).find(|&d| fits(d)).map_or(6, |d| d as usize)
}

fn seconds(ns: u64, digits: usize) -> String {
    let text = format!("{}.{:09}", ns / 1_000_000_000, ns % 1_000_000_000);
    text[..text.len() - (9 - digits)].to_string()
}

/// A length of time as one would say it: `10 ms`, `1.5 s`, `250 us`.
pub(crate) fn span(ns: u64) -> String {
    let short = |value: u64, per: u64, unit: &str| {
        let (whole, rest) = (value / per, value % per * 1000 / per);
        let fraction = format!("{rest:03}");
        let fraction = fraction.trim_end_matches('0');
        if fraction.is_empty() { format!("{whole} {unit}") } else { format!("{whole}.{fraction} {unit}") }
    };
    match ns {
        0..1_000 => format!("{ns} ns"),
        1_000..1_000_000 => short(ns, 1_000, "us"),
        1_000_000..1_000_000_000 => short(ns, 1_000_000, "ms"),
        _ => short(ns, 1_000_000_000, "s"),
    }
}

/// Breaks text at blanks so that no line is longer than `most`; a longer word is cut in pieces.
pub(crate) fn wrap(text: &str, most: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let mut word = word.to_string();
        loop {
            let line = lines.last_mut().expect("there is always a last line");
            let blank = usize::from(!line.is_empty());
            if width(line) + blank + width(&word) <= most {
                if blank == 1 {
                    line.push(' ');
                }
                line.push_str(&word);
                break;
            }
            if line.is_empty() {
                let mut at = word.len();
                while width(&word[..at]) > most {
                    at = word[..at].char_indices().next_back().map_or(0, |(i, _)| i);
                }
                let at = if at == 0 { word.chars().next().map_or(1, char::len_utf8) } else { at };
                line.push_str(&word[..at]);
                word = word[at..].to_string();
            }
            lines.push(String::new());
        }
    }
    lines
}

fn style_of(kind: EventKind) -> Style {
    match kind {
        EventKind::State => Style::State,
        EventKind::Drop | EventKind::Unexpected => Style::Bad,
        EventKind::Timer | EventKind::Admin | EventKind::Note => Style::Dim,
        EventKind::Call => Style::Call,
    }
}

/// Narrowest and widest area for labels beside the arrows of two hosts.
const LABELS: (usize, usize) = (8, 22);

impl<'a> Layout<'a> {
    fn of(ladder: &'a Ladder, width: usize, color: bool, glyphs: &'a Glyphs) -> Layout<'a> {
        let last = ladder.rows.iter().map(|r| r.at_ns).max().unwrap_or(0);
        let time_digits = digits(ladder);
        let numbers = ladder.rows.iter().filter_map(|r| match &r.what {
            RowKind::Packet(p) => Some(p.number),
            RowKind::Event(_) | RowKind::Idle { .. } | RowKind::Folded { .. } => None,
        });
        let number_width = (numbers.max().unwrap_or(0).to_string().len() + 1).max(3);
        let time_width = seconds(last, time_digits).len().max(5) + 2;
        let mut layout = Layout {
            ladder,
            glyphs,
            width,
            color,
            number_width,
            time_digits,
            time_width,
            form: Form::List { names: 0 },
        };
        layout.form = layout.choose_form();
        layout
    }

    /// Where the columns begin.
    fn prefix(&self) -> usize {
        self.number_width + 1 + self.time_width + 1
    }

    fn choose_form(&self) -> Form {
        let n = self.ladder.columns.len();
        let gap = (self.width - self.prefix() - 1).checked_div(n.max(2) - 1).unwrap_or(0);
        match n {
            2 => {
                let area = |column| self.label_width(column).clamp(LABELS.0, LABELS.1);
                Form::Pair { arrows: (self.prefix() + area(0) + 1, self.width - area(1) - 1) }
            }
            3.. if gap >= 34 => Form::Lanes { at: (0..n).map(|i| self.prefix() + i * gap).collect() },
            _ => {
                let names = self.ladder.columns.iter().map(|c| width(&c.name)).max().unwrap_or(0);
                Form::List { names: names.min(16) }
            }
        }
    }

    /// The widest label of a column among those that may stand beside an arrow.
    fn label_width(&self, column: usize) -> usize {
        let packets = self.ladder.rows.iter().filter_map(|r| match &r.what {
            RowKind::Packet(p) => Some(p),
            RowKind::Event(_) | RowKind::Idle { .. } | RowKind::Folded { .. } => None,
        });
        let labels =
            packets.clone().flat_map(|p| p.before.iter().chain(&p.after)).filter(|l| l.column == column);
        let labels = labels.map(|l| width(&l.text));
        // What happened on the way stands at the right.
        let remarks = packets.filter(|_| column == 1).flat_map(|p| remarks(p)).map(|r| width(&r));
        labels.chain(remarks).filter(|w| *w <= LABELS.1).max().unwrap_or(0)
    }

    fn start(&self, number: Option<u32>, at_ns: Option<u64>) -> Canvas {
        let mut c = Canvas::new(self.width);
        if let Form::Lanes { at } = &self.form {
            for x in at {
                c.put(*x, &self.glyphs.lifeline.to_string(), Style::Dim);
            }
        }
        if let Some(n) = number {
            c.put(0, &format!("{:>1$}", format!("#{n}"), self.number_width), Style::Bold);
        }
        if let Some(ns) = at_ns {
            let time = format!("{:>1$}", seconds(ns, self.time_digits) + " s", self.time_width);
            c.put(self.number_width + 1, &time, Style::Dim);
        }
        c
    }

    fn header(&self, lines: &mut Vec<String>) {
        let mut c = Canvas::new(self.width);
        c.put(self.number_width + 1, &format!("{:>1$}", "time", self.time_width), Style::Dim);
        let titles: Vec<String> =
            self.ladder
                .columns
                .iter()
                .map(|c| {
                    let first = c.addrs.first().map_or(String::new(), |a| {
                        if *a == c.name { String::new() } else { format!(" {a}") }
                    });
                    format!("{}{first}", c.name)
                })
                .collect();
        match &self.form {
            Form::Pair { arrows } => {
                c.put(
                    self.prefix(),
                    &cut(&titles[0], arrows.1 - self.prefix() - 24, self.glyphs.unicode),
                    Style::Bold,
                );
                let right = cut(&titles[1], self.width / 2 - 8, self.glyphs.unicode);
                c.put((arrows.1 + 1).min(self.width - width(&right)), &right, Style::Bold);
            }
            Form::Lanes { at } => {
                for (i, (x, title)) in at.iter().zip(&titles).enumerate() {
                    let title = cut(title, at[1] - at[0] - 2, self.glyphs.unicode);
                    let w = width(&title);
                    let begin = if i == 0 { *x } else { x.saturating_sub(w / 2).min(self.width - w) };
                    c.put(begin, &title, Style::Bold);
                }
            }
            Form::List { .. } => {
                lines.push(c.finish(self.color));
                for title in &self.ladder.columns {
                    let mut c = Canvas::new(self.width);
                    c.put(
                        self.prefix(),
                        &cut(
                            &format!("{}  {}", title.name, title.addrs.join(" ")),
                            self.width - self.prefix(),
                            self.glyphs.unicode,
                        ),
                        Style::Bold,
                    );
                    lines.push(c.finish(self.color));
                }
                return;
            }
        }
        lines.push(c.finish(self.color));
    }

    fn row(&self, row: &Row, lines: &mut Vec<String>) {
        match &row.what {
            RowKind::Packet(p) => self.packet(row, p, lines),
            RowKind::Event(e) => self.event(row.at_ns, e, lines),
            RowKind::Idle { ns } => {
                let mark = if self.glyphs.unicode { "…" } else { "..." };
                // Silences are told roughly: the times beside the rows are exact.
                let tenth = 100_000_000;
                let rough = if *ns >= 10 * tenth { (ns + tenth / 2) / tenth * tenth } else { *ns };
                self.remark(&format!("{mark} {} pass", span(rough)), lines);
            }
            RowKind::Folded { period, times, packets, until_ns, alike } => {
                let mark = if self.glyphs.unicode { "…" } else { "..." };
                let rows = if *period == 1 { "row".to_string() } else { format!("{period} rows") };
                let numbers = packets.map_or(String::new(), |(a, b)| format!(" (#{a} to #{b})"));
                let often = if *times == 1 { "once more".to_string() } else { format!("{times} times more") };
                let what = if *alike { format!("{rows} like these") } else { format!("the same {rows}") };
                let until = seconds(*until_ns, self.time_digits);
                let text = format!("{mark} {what} {often}{numbers}, until {until} s");
                self.remark(&text, lines);
            }
        }
    }

    fn remark(&self, text: &str, lines: &mut Vec<String>) {
        let mut c = self.start(None, None);
        let x = match &self.form {
            Form::Lanes { .. } => self.prefix() + 2,
            Form::Pair { .. } | Form::List { .. } => self.prefix(),
        };
        c.put(x, &cut(text, self.width - x, self.glyphs.unicode), Style::Dim);
        lines.push(c.finish(self.color));
    }

    fn event(&self, at_ns: u64, e: &EventRow, lines: &mut Vec<String>) {
        let room = self.width - self.prefix() - 2;
        let mut parts = wrap(&e.text, room.min(self.event_room()));
        for later in parts.iter_mut().skip(1) {
            later.insert_str(0, "  ");
        }
        // All lines of one event begin at the same column.
        let w = parts.iter().map(|p| width(p)).max().unwrap_or(0);
        for (n, line) in parts.iter().enumerate() {
            let mut c = self.start(None, (n == 0).then_some(at_ns));
            let x = match &self.form {
                Form::Pair { .. } if e.column == 0 => self.prefix(),
                Form::Pair { arrows } => (arrows.1 + 1).min(self.width - w.min(self.width)),
                Form::Lanes { at } if e.column + 1 == at.len() => {
                    at[e.column].saturating_sub(w + 1).max(self.prefix() + 1)
                }
                Form::Lanes { at } => (at[e.column] + 2).min(self.width - w.min(self.width)),
                Form::List { names } => {
                    if n == 0 {
                        let name = cut(&self.ladder.columns[e.column].name, *names, self.glyphs.unicode);
                        c.put(self.prefix(), &name, Style::Bold);
                    }
                    self.prefix() + names + 2
                }
            };
            c.put(x, line, style_of(e.kind));
            lines.push(c.finish(self.color));
        }
    }

    /// How long an event's line may be.
    fn event_room(&self) -> usize {
        match &self.form {
            // A little less than the whole line, so that left and right can be told apart.
            Form::Pair { .. } => self.width - self.prefix() - 10,
            Form::Lanes { at } => (self.width - self.prefix()).saturating_sub(6).max(at[1] - at[0]),
            Form::List { names } => self.width - self.prefix() - names - 4,
        }
    }
}
