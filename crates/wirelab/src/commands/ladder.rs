//! `ladder`: any capture as a ladder, drawn by the code that draws runs.

use analysis::ladder::{Ladder, Options};
use analysis::traffic::Traffic;
use wire::filter::Filter;

use super::input;
use crate::output::Output;
use crate::{Exit, LadderArgs};

/// Most bytes of a capture that are read; a ladder of more than that serves nobody.
const MAX_BYTES: u64 = 1 << 30;

/// Draws the ladder of a capture file.
pub(crate) fn ladder(args: &LadderArgs, out: &mut Output) -> Exit {
    let shown = args.file.display();
    let filter = match args.filter.as_deref().map(Filter::parse).transpose() {
        Ok(filter) => filter,
        Err(e) => {
            let hint =
                "a filter is written as in Wireshark, such as `tcp.flags.syn == 1 && ip.src == 192.0.2.1`";
            out.error(format_args!("--filter: {e}"), Some(hint));
            return Exit::Usage;
        }
    };
    let bytes = match input::bytes(&args.file, MAX_BYTES) {
        Ok(bytes) => bytes,
        Err(e) => {
            let hint = "`ladder` takes a pcap or pcapng file; tcpdump, tshark or editcap can cut a long one";
            out.error(format_args!("cannot read {shown}: {e}"), Some(hint));
            return Exit::Usage;
        }
    };
    let capture = match wire::capture::read(&bytes) {
        Ok(capture) => capture,
        Err(e) => {
            out.error(format_args!("{shown}: {e}"), Some("pcap and pcapng files are read"));
            return Exit::Usage;
        }
    };
    let journal = analysis::from_capture(&capture);
    let name = args.file.file_name().map_or_else(String::new, |n| n.to_string_lossy().into_owned());
    let options = Options { title: Some(name), filter, unfold: args.unfold, ..Options::default() };
    let traffic = Traffic::of(&journal);
    let mut dissection = analysis::Dissection::of(&journal, &traffic);
    let ladder = Ladder::dissected(&journal, &traffic, &dissection, &options);
    let mut explanation = analysis::explain_traffic(&journal, &traffic);
    if options.filter.is_some() {
        let shown = traffic.numbered().filter(|t| options.shows(t)).map(|t| t.number).collect();
        explanation.retain_about(&shown);
        dissection.packets.retain(|n, _| shown.contains(n));
    }
    if args.json {
        let value = serde_json::json!({
            "ladder": ladder,
            "explanation": explanation,
            "dissection": dissection,
            "problem": capture.problem.as_ref().map(ToString::to_string),
        });
        out.line(serde_json::to_string_pretty(&value).expect("JSON values print"));
    } else {
        out.data(ladder.render(out.width, out.color, out.unicode));
        out.line("");
        out.data(explanation.render(out.width));
    }
    // A damaged end is an error, but what stood before it was worth showing.
    if let Some(problem) = &capture.problem {
        let before = format!("{} packets before it are shown", capture.packets.len());
        out.error(format_args!("{shown}: {problem}"), Some(&before));
        return Exit::Failed;
    }
    Exit::Ok
}
