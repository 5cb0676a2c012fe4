//! What real kernels said of the catalogue's rows: kept in `scenarios/verdicts.tsv`, written by `wirelab twin --all
//! --write`, shown by `run`.

use std::collections::BTreeMap;

/// One kernel's verdict on one row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known {
    /// The row: `tcp/handshake/third-ack-lost`.
    pub row: String,
    /// `uname -r`.
    pub kernel: String,
    /// Its `CONFIG_HZ`.
    pub hz: u32,
    /// The day of the twin run: `2026-11-22`.
    pub date: String,
    /// Where it differs; `None` when it agrees.
    pub difference: Option<String>,
}

impl Known {
    /// Whether the kernel did the same as our stack.
    pub fn agrees(&self) -> bool {
        self.difference.is_none()
    }

    fn parse(line: &str) -> Option<Known> {
        let mut columns = line.split('\t');
        let [row, kernel, hz, date, verdict] = std::array::from_fn(|_| columns.next());
        Some(Known {
            row: row?.to_owned(),
            kernel: kernel?.to_owned(),
            hz: hz?.parse().ok()?,
            date: date?.to_owned(),
            difference: verdict?.strip_prefix("differs: ").map(str::to_owned),
        })
    }

    fn line(&self) -> String {
        let verdict = match &self.difference {
            None => "agrees".to_owned(),
            Some(text) => format!("differs: {}", text.replace(['\t', '\n'], " ")),
        };
        [&self.row, &self.kernel, &self.hz.to_string(), &self.date, &verdict].map(String::as_str).join("\t")
    }
}

const KEPT: &str = include_str!("../../../scenarios/verdicts.tsv");
const HEADER: &str = "row\tkernel\tHZ\tdate\tverdict";

fn read(text: &str) -> impl Iterator<Item = Known> {
    text.lines().filter(|line| *line != HEADER).filter_map(Known::parse)
}

/// Every verdict that is kept, by row.
pub fn all() -> impl Iterator<Item = Known> {
    read(KEPT)
}

/// What is known of one row.
pub fn of(row: &str) -> impl Iterator<Item = Known> {
    all().filter(move |known| known.row == row)
}

/// The text of a file of verdicts (`None`: there is none yet) with `new` ones in place of those of the same row and
/// kernel. A verdict that says the same again keeps its date.
pub fn merged(before: Option<&str>, new: impl IntoIterator<Item = Known>) -> String {
    let key = |known: &Known| (known.row.clone(), known.kernel.clone());
    let mut verdicts: BTreeMap<(String, String), Known> =
        read(before.unwrap_or_default()).map(|known| (key(&known), known)).collect();
    for mut known in new {
        if let Some(kept) = verdicts.get(&key(&known))
            && kept.agrees() == known.agrees()
        {
            known.date.clone_from(&kept.date);
        }
        verdicts.insert(key(&known), known);
    }
    let lines = verdicts.values().map(Known::line);
    std::iter::once(HEADER.to_owned()).chain(lines).map(|line| line + "\n").collect()
}

/// Today, UTC, as `2026-11-22`.
pub fn today() -> String {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    date(now.as_secs() / 86_400)
}

/// The date so many days after 1970-01-01 (proleptic Gregorian calendar, by 400-year eras that begin in March).
fn date(days: u64) -> String {
    let days = days + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let (day, month) = (day - (153 * month + 2) / 5 + 1, if month < 10 { month + 3 } else { month - 9 });
    let year = era * 400 + year + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_have_their_dates() {
        for (days, text) in [
            (0, "1970-01-01"),
            (11_016, "2000-02-29"),
            (20_779, "2026-11-22"),
            (47_540, "2100-02-28"),
            (47_541, "2100-03-01"),
        ] {
            assert_eq!(date(days), text);
        }
    }

    #[test]
    fn a_verdict_that_stays_the_same_keeps_its_date_and_others_stay() {
        let known = |row: &str, date: &str, difference: Option<&str>| Known {
            row: row.into(),
            kernel: "6.12.117".into(),
            hz: 100,
            date: date.into(),
            difference: difference.map(str::to_owned),
        };
        let first = merged(None, [known("a", "2026-01-01", None), known("b", "2026-01-01", None)]);
        let again =
            merged(Some(&first), [known("a", "2026-02-02", None), known("c", "2026-02-02", Some("x\ty"))]);
        assert_eq!(
            again,
            "row\tkernel\tHZ\tdate\tverdict\na\t6.12.117\t100\t2026-01-01\tagrees\nb\t6.12.117\t100\t2026-01-01\tagrees\n\
             c\t6.12.117\t100\t2026-02-02\tdiffers: x y\n"
        );
        let kept: Vec<Known> = read(&again).collect();
        assert_eq!(kept.len(), 3);
        assert_eq!(kept[2].difference.as_deref(), Some("x y"));
    }

    /// A verdict on a row that is gone, or a line that does not read, helps nobody.
    #[test]
    fn every_kept_verdict_is_of_a_row_of_the_catalogue() {
        assert_eq!(all().count(), KEPT.lines().count() - 1);
        for known in all() {
            assert!(crate::catalogue::all().iter().any(|e| e.name == known.row), "{}", known.row);
        }
    }
}
