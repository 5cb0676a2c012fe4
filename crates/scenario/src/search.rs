//! Finds rows of the catalogue by the words of a question, in English and in Chinese: Okapi BM25 over names, questions and
//! descriptions. English words count by their stems (Porter 2), Chinese text by its pairs of characters.

use std::collections::BTreeMap;

use rust_stemmers::{Algorithm, Stemmer};

use crate::catalogue::{self, Entry};
use crate::file;

/// Words that say nothing of what is asked.
const STOP: &[&str] = &[
    "a", "an", "and", "are", "as", "at", "be", "by", "can", "could", "did", "do", "does", "for", "from",
    "get", "give", "happen", "happens", "has", "have", "how", "i", "if", "in", "is", "it", "its", "linux",
    "me", "my", "of", "on", "one", "or", "really", "s", "so", "t", "that", "the", "their", "then", "there",
    "they", "this", "to", "was", "we", "what", "when", "where", "which", "who", "will", "with", "would",
    "you", "your",
];

/// Other words for the same thing: what askers say, and what rows say.
const SAME: &[(&str, &[&str])] = &[
    ("missing", &["lost"]),
    ("dropped", &["lost"]),
    ("disappears", &["lost"]),
    ("3rd", &["third"]),
    ("2nd", &["second"]),
    ("1st", &["first"]),
    ("3whs", &["handshake", "three"]),
    ("packet", &["segment"]),
    ("segment", &["packet"]),
    ("unplugged", &["cable", "pulled"]),
    ("slow", &["silly", "window", "slow"]),
    ("https", &["tls"]),
    ("ssl", &["tls"]),
    ("wifi", &["weak", "signal"]),
];

/// BM25's usual constants: how fast a repeated word saturates, and how much long texts count less.
const K1: f64 = 1.2;
const B: f64 = 0.6;
/// What a word in a name or a question weighs, against one in a description.
const NAME: f64 = 3.0;
const QUESTION: f64 = 4.0;
const ABOUT: f64 = 1.0;
/// What another word for the same thing weighs.
const SYNONYM: f64 = 0.6;

/// A row that fits a question.
#[derive(Clone, Debug)]
pub struct Hit {
    /// The row.
    pub entry: &'static Entry,
    /// Its question.
    pub question: String,
    /// Its question in Chinese.
    pub question_zh: Option<String>,
    /// How well it fits; only comparisons mean something.
    pub score: f64,
}

/// One row's words with their weights.
struct Document {
    entry: &'static Entry,
    question: String,
    question_zh: Option<String>,
    words: BTreeMap<String, f64>,
    length: f64,
}

/// The rows that fit a question best, the best first; rows without any of its words are left out.
pub fn search(question: &str) -> Vec<Hit> {
    let stemmer = Stemmer::create(Algorithm::English);
    let documents: Vec<Document> =
        catalogue::all().iter().filter_map(|entry| document(entry, &stemmer)).collect();
    let count = documents.len() as f64; // some hundreds
    let mean = documents.iter().map(|d| d.length).sum::<f64>() / count.max(1.0);
    let mut wanted: BTreeMap<String, f64> = BTreeMap::new();
    let mut ask = |word: String, weight: f64| {
        let entry = wanted.entry(word).or_insert(0.0);
        *entry = entry.max(weight);
    };
    for word in terms(question, &stemmer) {
        ask(word, 1.0);
    }
    for raw in question.to_lowercase().split(|c: char| !c.is_alphanumeric()) {
        for (_, same) in SAME.iter().filter(|(word, _)| *word == raw) {
            same.iter().for_each(|word| ask(stemmer.stem(word).into_owned(), SYNONYM));
        }
    }
    let rarity: BTreeMap<&str, f64> = wanted
        .keys()
        .map(|word| {
            let with = documents.iter().filter(|d| d.words.contains_key(word)).count() as f64;
            (word.as_str(), ((count - with + 0.5) / (with + 0.5)).ln_1p())
        })
        .collect();
    let mut hits: Vec<Hit> = documents
        .into_iter()
        .filter_map(|d| {
            let norm = K1 * (1.0 - B + B * d.length / mean);
            let score = wanted.iter().filter_map(|(word, weight)| {
                let n = d.words.get(word)?;
                Some(weight * rarity[word.as_str()] * n * (K1 + 1.0) / (n + norm))
            });
            let score: f64 = score.sum();
            let hit = Hit { entry: d.entry, question: d.question, question_zh: d.question_zh, score };
            (hit.score > 0.0).then_some(hit)
        })
        .collect();
    hits.sort_by(|a, b| b.score.total_cmp(&a.score).then_with(|| a.entry.name.cmp(b.entry.name)));
    hits
}

fn document(entry: &'static Entry, stemmer: &Stemmer) -> Option<Document> {
    let content = file::parse(entry.text, &entry.origin()).ok()?.content;
    let mut words = BTreeMap::new();
    let zh = content.question_zh.as_deref().unwrap_or("");
    let parts = [
        (entry.name, NAME),
        (content.question.as_str(), QUESTION),
        (zh, QUESTION),
        (content.about.as_deref().unwrap_or(""), ABOUT),
    ];
    let mut length = 0.0;
    for (text, weight) in parts {
        for word in terms(text, stemmer) {
            *words.entry(word).or_insert(0.0) += weight;
            length += weight;
        }
    }
    Some(Document {
        entry,
        question: content.question.clone(),
        question_zh: content.question_zh.clone(),
        words,
        length,
    })
}

fn is_han(c: char) -> bool {
    matches!(c, '\u{3400}'..='\u{9fff}' | '\u{f900}'..='\u{faff}' | '\u{20000}'..='\u{3ffff}')
}

/// The words of a text as they are compared.
fn terms(text: &str, stemmer: &Stemmer) -> Vec<String> {
    let mut terms = Vec::new();
    let mut word = String::new();
    let mut han: Option<char> = None;
    let finish = |word: &mut String, terms: &mut Vec<String>| {
        if !word.is_empty() && !STOP.contains(&word.as_str()) {
            terms.push(stemmer.stem(word).into_owned());
        }
        word.clear();
    };
    for c in text.chars().flat_map(char::to_lowercase) {
        if is_han(c) {
            finish(&mut word, &mut terms);
            if let Some(before) = han {
                terms.push([before, c].iter().collect());
            }
            han = Some(c);
            continue;
        }
        han = None;
        if c.is_alphanumeric() {
            word.push(c);
        } else {
            finish(&mut word, &mut terms);
        }
    }
    finish(&mut word, &mut terms);
    terms
}

#[cfg(test)]
mod tests {
    use super::*;

    fn first(question: &str) -> &'static str {
        search(question).first().map_or("nothing", |hit| hit.entry.name)
    }

    #[test]
    fn questions_find_their_rows() {
        for (question, row) in [
            ("what if the third handshake packet is lost", "tcp/handshake/third-ack-lost"),
            ("第三次握手的ACK丢失了怎么办", "tcp/handshake/third-ack-lost"),
            ("accept queue is full", "tcp/queues/accept-queue-full"),
            ("the cable is pulled while sending", "tcp/failure/cable-pulled"),
            ("why does TIME_WAIT exist?", "tcp/time-wait/why-time-wait"),
            ("how does ARP find a MAC address", "link/arp-resolution"),
            ("PING ttl", "ip/ping"),
        ] {
            let found = first(question);
            assert!(found.starts_with(row), "{question}: {found}");
        }
    }

    #[test]
    fn words_that_no_row_has_find_nothing() {
        assert_eq!(first("xyzzy"), "nothing");
        assert_eq!(first(""), "nothing");
        assert_eq!(first("what is the"), "nothing");
    }

    #[test]
    fn chinese_counts_by_pairs_and_english_by_stems() {
        let stemmer = Stemmer::create(Algorithm::English);
        assert_eq!(terms("第三次握手", &stemmer), ["第三", "三次", "次握", "握手"]);
        assert_eq!(
            terms("Queues, retransmitted tcp_syn_retries!", &stemmer),
            ["queue", "retransmit", "tcp", "syn", "retri"]
        );
    }
}
