//! A packet's row: the arrow with its words, what its sender and receivers did beside it, losses at the right.

use super::super::canvas::{Canvas, Style, cut, width};
use super::super::{EventKind, EventRow, Label, PacketRow, Row};
use super::{Form, Layout, span, style_of, wrap};

impl Layout<'_> {
    pub(super) fn packet(&self, row: &Row, p: &PacketRow, lines: &mut Vec<String>) {
        match &self.form {
            Form::Pair { arrows } => self.pair_packet(row, p, *arrows, lines),
            Form::Lanes { at } => self.lanes_packet(row, p, at, lines),
            Form::List { names } => self.list_packet(row, p, *names, lines),
        }
    }

    fn overflow(&self, labels: &[&Label], lines: &mut Vec<String>) {
        for l in labels {
            let e = EventRow { column: l.column, kind: l.kind, text: l.text.clone() };
            self.event(l.at_ns, &e, lines);
        }
    }

    fn pair_packet(&self, row: &Row, p: &PacketRow, arrows: (usize, usize), lines: &mut Vec<String>) {
        let from = p.from.unwrap_or_else(|| p.to.first().map_or(0, |c| 1 - c));
        let areas = [(self.prefix(), arrows.0 - 1), (arrows.1 + 1, self.width)];
        let (own, other) = (areas[from], areas[1 - from]);
        let (before, spill_before) = fit_last(&p.before, own.1 - own.0);
        self.overflow(&spill_before, lines);
        let mut c = self.start(Some(p.number), Some(row.at_ns));
        if let Some((text, kind)) = &before {
            c.put(own.0, text, style_of(*kind));
        }
        let here: Vec<Label> = p.after.iter().filter(|l| l.column != from).cloned().collect();
        let (after, spill_after) = fit(&here, other.1 - other.0);
        self.arrow(&mut c, p, row.at_ns, arrows, from == 0);
        if let Some((text, kind)) = &after {
            c.put(other.0, text, style_of(*kind));
        }
        let mut extra = Vec::new();
        for remark in remarks(p) {
            let w = width(&remark);
            // At the right end; over the part of the arrow that a lost packet never travelled.
            let x = areas[1].0.min(self.width.saturating_sub(w)).max(self.prefix());
            if c.is_free(x.saturating_sub(1), x + w, self.glyphs.lifeline) {
                c.put(x, &remark, Style::Bad);
            } else {
                extra.push(remark);
            }
        }
        lines.push(c.finish(self.color));
        for remark in extra {
            let mut c = self.start(None, None);
            let text = cut(&remark, self.width - self.prefix(), self.glyphs.unicode);
            c.put(areas[1].0.min(self.width - width(&text)), &text, Style::Bad);
            lines.push(c.finish(self.color));
        }
        self.overflow(&spill_after, lines);
    }

    /// Draws an arrow with its words between two columns of the line.
    fn arrow(&self, c: &mut Canvas, p: &PacketRow, sent_ns: u64, span_at: (usize, usize), rightwards: bool) {
        let (begin, end) = span_at;
        let len = end - begin;
        let g = self.glyphs;
        let words = cut(&p.words, len.saturating_sub(3), g.unicode);
        let w = width(&words);
        let silent = !p.lost && p.arrivals.is_empty();
        let (mut from, mut to) = (begin, end);
        if p.lost {
            // The cross stands at two thirds of the way, or behind the words.
            let travelled = (len * 2 / 3).max(w + 6).min(len);
            if rightwards { to = begin + travelled } else { from = end - travelled }
        }
        c.put(from, &g.line.repeat(to - from), Style::Arrow);
        let head = match (p.lost, silent, rightwards) {
            (true, ..) => (g.lost, Style::Bad),
            (_, true, _) => (g.open, Style::Arrow),
            (.., true) => (g.right, Style::Arrow),
            (.., false) => (g.left, Style::Arrow),
        };
        c.put(if rightwards { to - 1 } else { from }, head.0, head.1);
        // Two strokes before the words, fewer when they need the room.
        let strokes = len.saturating_sub(w + 3).min(2);
        let text_at = from + strokes + usize::from(!rightwards);
        c.put(text_at, &format!(" {words} "), Style::Plain);
        if let Some(transit) = self.transit(p, sent_ns) {
            let w_transit = width(&transit) + 2;
            // Beside the words with their blanks, two strokes before and one and the head behind.
            if w + 5 + w_transit + 2 <= to - from {
                c.put(to - 2 - w_transit, &format!(" {transit} "), Style::Dim);
            }
        }
    }

    /// `+10 ms`: how long the way took, when it took a millisecond or more.
    fn transit(&self, p: &PacketRow, sent_ns: u64) -> Option<String> {
        let arrived = p.arrivals.iter().filter(|a| p.to.contains(&a.column)).map(|a| a.at_ns).max()?;
        let ns = arrived.saturating_sub(sent_ns);
        (ns >= 1_000_000).then(|| format!("+{}", span(ns / 1_000 * 1_000)))
    }

    fn lanes_packet(&self, row: &Row, p: &PacketRow, at: &[usize], lines: &mut Vec<String>) {
        let before: Vec<&Label> = p.before.iter().collect();
        self.overflow(&before, lines);
        let mut c = self.start(Some(p.number), Some(row.at_ns));
        let from = p.from.unwrap_or(0);
        let mut targets = p.to.clone();
        if targets.is_empty() {
            targets.push(if from + 1 < at.len() { from + 1 } else { from.saturating_sub(1) });
        }
        let leftmost = targets.iter().copied().filter(|t| *t < from).min();
        let rightmost = targets.iter().copied().filter(|t| *t > from).max();
        let sides: Vec<usize> = rightmost.into_iter().chain(leftmost).collect();
        let longest = sides.iter().map(|t| at[*t].abs_diff(at[from]) - 1).max().unwrap_or(0);
        // Words do not run over a lifeline that the arrow crosses.
        let fits = width(&p.words) + 3 <= longest.min(at[1] - at[0] - 1);
        if !fits {
            let text = cut(&p.words, self.width - self.prefix() - 2, self.glyphs.unicode);
            let low = sides.iter().map(|t| at[*t].min(at[from])).min().unwrap_or(self.prefix());
            c.put((low + 2).min(self.width - width(&text)), &text, Style::Plain);
            lines.push(c.finish(self.color));
            c = self.start(None, None);
        }
        for (i, target) in sides.iter().enumerate() {
            let (low, high) = (at[from].min(at[*target]), at[from].max(at[*target]));
            let mut drawn = p.clone();
            if !fits || i > 0 {
                drawn.words = String::new();
            }
            self.arrow(&mut c, &drawn, row.at_ns, (low + 1, high), from < *target);
            if drawn.words.is_empty() {
                let line = self.glyphs.line.repeat(2);
                c.put(if from < *target { low + 3 } else { low + 4 }, &line, Style::Arrow);
            }
            for (k, x) in at.iter().enumerate().filter(|(_, x)| **x > low && **x < high) {
                if p.lost && !c.is_free(*x, x + 1, self.glyphs.lifeline) {
                    continue;
                }
                if p.to.contains(&k) {
                    c.put(*x, self.glyphs.also, Style::Arrow);
                } else if fits && width(&p.words) + 6 > x - low {
                    // The words run over this lifeline.
                } else {
                    c.put(*x, self.glyphs.crossing, Style::Arrow);
                }
            }
        }
        let mut extra = Vec::new();
        for remark in remarks(p) {
            let last = targets.iter().copied().max().unwrap_or(from).max(from);
            let w = width(&remark);
            let x = (at[last] + 2).min(self.width.saturating_sub(w));
            if c.is_free(x, x + w, self.glyphs.lifeline) {
                c.put(x, &remark, Style::Bad);
            } else {
                extra.push(remark);
            }
        }
        lines.push(c.finish(self.color));
        for remark in extra {
            let mut c = self.start(None, None);
            let text = cut(&remark, self.width - self.prefix(), self.glyphs.unicode);
            c.put((at[from] + 2).min(self.width - width(&text)), &text, Style::Bad);
            lines.push(c.finish(self.color));
        }
        let after: Vec<&Label> = p.after.iter().collect();
        self.overflow(&after, lines);
    }

    fn list_packet(&self, row: &Row, p: &PacketRow, names: usize, lines: &mut Vec<String>) {
        let before: Vec<&Label> = p.before.iter().collect();
        self.overflow(&before, lines);
        let name = |c: usize| cut(&self.ladder.columns[c].name, names, self.glyphs.unicode);
        let to = match p.to.as_slice() {
            [] => self.glyphs.open.to_string(),
            [one] => name(*one),
            many => format!("{} hosts", many.len()),
        };
        let from = p.from.map_or_else(|| "?".to_string(), name);
        let arrow = if self.glyphs.unicode { "→" } else { "->" };
        let lost = if p.lost { format!(" {}", self.glyphs.lost) } else { String::new() };
        let whither = format!("{from:<names$} {arrow} {to}{lost}");
        let mut c = self.start(Some(p.number), Some(row.at_ns));
        let words_at = self.prefix() + names + 5 + names.max(7);
        c.put(self.prefix(), &cut(&whither, self.width - self.prefix(), self.glyphs.unicode), Style::Arrow);
        let mut texts = vec![p.words.clone()];
        texts.extend(remarks(p));
        let transit = self.transit(p, row.at_ns).map_or(String::new(), |t| format!("  {t}"));
        let text = texts.join("  ") + &transit;
        let room = self.width - words_at;
        if self.prefix() + width(&whither) < words_at {
            let mut parts = wrap(&text, room).into_iter();
            c.put(words_at, &parts.next().unwrap_or_default(), Style::Plain);
            lines.push(c.finish(self.color));
            for part in parts {
                let mut c = self.start(None, None);
                c.put(words_at, &part, Style::Plain);
                lines.push(c.finish(self.color));
            }
        } else {
            lines.push(c.finish(self.color));
            for part in wrap(&text, room) {
                let mut c = self.start(None, None);
                c.put(words_at, &part, Style::Plain);
                lines.push(c.finish(self.color));
            }
        }
        let after: Vec<&Label> = p.after.iter().collect();
        self.overflow(&after, lines);
    }
}

/// Causes of losses and alterations, in words.
pub(super) fn remarks(p: &PacketRow) -> Vec<String> {
    p.causes.iter().chain(&p.altered).cloned().collect()
}

/// The labels that fit beside an arrow as one text, and those that need a row of their own.
fn fit(labels: &[Label], room: usize) -> (Option<(String, EventKind)>, Vec<&Label>) {
    let mut text = String::new();
    let mut kind = EventKind::State;
    for (i, l) in labels.iter().enumerate() {
        let longer = if text.is_empty() { l.text.clone() } else { format!("{text}, {}", l.text) };
        if width(&longer) > room {
            let shown = (!text.is_empty()).then_some((text, kind));
            return (shown, labels[i..].iter().collect());
        }
        kind = l.kind;
        text = longer;
    }
    ((!text.is_empty()).then_some((text, kind)), Vec::new())
}

/// As [`fit`] for what came before the packet: the latest stands beside it, earlier ones above.
fn fit_last(labels: &[Label], room: usize) -> (Option<(String, EventKind)>, Vec<&Label>) {
    let all = fit(labels, room);
    if all.1.is_empty() {
        return all;
    }
    match labels.split_last() {
        Some((last, earlier)) if width(&last.text) <= room => {
            (Some((last.text.clone(), last.kind)), earlier.iter().collect())
        }
        _ => (None, labels.iter().collect()),
    }
}
