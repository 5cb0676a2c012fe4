//! `honest-clients`: people who want a page while others attack. Each target is asked by the same number of them at the same times; the
//! table says how many were served, and how fast.

use core::time::Duration;
use std::sync::Arc;

use http::Method;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value};
use tokio::time::{Instant, sleep_until, timeout};

use super::{Asker, url, wrong};
use crate::app::read_table;
use crate::tls::ClientOptions;
use crate::units::Span;
use crate::{App, AppFuture, Cx, Env, Problem, Ready};

/// Honest clients of one or more servers.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HonestClients {
    /// The servers.
    pub targets: Vec<Target>,
    /// How many clients there are for each.
    pub clients: u32,
    /// The time from one to the next; 1 s unless given.
    #[serde(default = "second")]
    pub every: Span,
    /// How long each waits; 3 s unless given.
    #[serde(default = "patience")]
    pub patience: Span,
}

/// A server.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Target {
    /// Its name in the table.
    pub label: String,
    /// The page.
    pub url: String,
    /// What is posted there, as a form; nothing unless given.
    #[serde(default)]
    pub post: Option<String>,
    /// The share that must be served, in percent: at least this.
    #[serde(default)]
    pub at_least: Option<u32>,
    /// The share that may be served, in percent: at most this.
    #[serde(default)]
    pub at_most: Option<u32>,
}

fn second() -> Span {
    Span(Duration::from_secs(1))
}

fn patience() -> Span {
    Span(Duration::from_secs(3))
}

/// Requests of one run.
const REQUESTS: u32 = 100_000;
/// Letters of a full bar.
const BAR: u32 = 20;

/// Reads the table.
///
/// # Errors
/// What is wrong with it.
pub fn read(table: &Map<String, Value>, _: &Env) -> Result<Ready, Vec<Problem>> {
    let app: HonestClients = read_table(table)?;
    let mut problems = Vec::new();
    if app.targets.is_empty() {
        problems.push(wrong(
            "targets",
            "whom do they ask?",
            "[{ label = \"no limit\", url = \"http://server/\" }]",
        ));
    }
    for (index, target) in app.targets.iter().enumerate() {
        if let Err(mut problem) = url("url", &target.url) {
            problem.path = vec!["targets".into(), index.to_string(), "url".into()];
            problems.push(problem);
        }
    }
    let all = u32::try_from(app.targets.len()).unwrap_or(u32::MAX).saturating_mul(app.clients);
    if app.clients == 0 || all > REQUESTS {
        problems.push(wrong("clients", format!("{all} requests in all: 1 to {REQUESTS}"), "20"));
    }
    if problems.is_empty() { Ok(Arc::new(app)) } else { Err(problems) }
}

/// How one of them fared.
enum Fate {
    Served(Duration),
    Status(u16),
    Failed(String),
    Waited,
}

async fn one(target: Target, cx: Cx, patience: Duration) -> Fate {
    // A client of its own: nobody shares connections with strangers.
    let asker = Asker::new(&ClientOptions::default(), &cx);
    let Ok(to) = url("url", &target.url) else { return Fate::Failed("no URL".into()) };
    let began = Instant::now();
    let (method, fields, body): (_, &[(&str, &str)], _) = match target.post {
        None => (Method::GET, &[], String::new()),
        Some(text) => (Method::POST, &[("Content-Type", "application/x-www-form-urlencoded")], text),
    };
    match timeout(patience, asker.ask(method, to, fields, body)).await {
        Ok(Ok(asked)) if (200..400).contains(&asked.status) => Fate::Served(began.elapsed()),
        Ok(Ok(asked)) => Fate::Status(asked.status),
        Ok(Err(error)) => Fate::Failed(error),
        Err(_) => Fate::Waited,
    }
}

/// A line of the table, and whether the share is as it must be.
fn row(target: &Target, width: usize, fates: &[Fate]) -> (String, bool) {
    let mut times: Vec<Duration> = Vec::new();
    let mut others: Vec<(String, usize)> = Vec::new();
    for fate in fates {
        let why = match fate {
            Fate::Served(time) => {
                times.push(*time);
                continue;
            }
            Fate::Status(status) => format!("answer {status}"),
            Fate::Failed(error) => error.clone(),
            Fate::Waited => "out of patience".into(),
        };
        match others.iter_mut().find(|(known, _)| *known == why) {
            Some((_, n)) => *n += 1,
            None => others.push((why, 1)),
        }
    }
    times.sort();
    let all = u32::try_from(fates.len().max(1)).unwrap_or(u32::MAX);
    let served = u32::try_from(times.len()).unwrap_or(u32::MAX);
    let share = served * 100 / all;
    let filled = served * BAR / all;
    let bar: String = (0..BAR).map(|n| if n < filled { '#' } else { '.' }).collect();
    let mut line = format!("{:<width$}  {served:>3} of {all} served  {share:>3} %  {bar}", target.label);
    if let Some(median) = times.get(times.len() / 2) {
        line.push_str(&format!("  median {:.1} ms", median.as_secs_f64() * 1e3));
    }
    for (why, n) in others {
        line.push_str(&format!("  {n}: {why}"));
    }
    let fits =
        target.at_least.is_none_or(|least| share >= least) && target.at_most.is_none_or(|most| share <= most);
    (line, fits)
}

impl App for HonestClients {
    fn run(self: Arc<Self>, cx: Cx) -> AppFuture {
        Box::pin(async move {
            let began = Instant::now();
            let mut at_work = Vec::new();
            for n in 0..self.clients {
                for (index, target) in self.targets.iter().enumerate() {
                    let (target, cx, patience) = (target.clone(), cx.clone(), self.patience.0);
                    let at = began + self.every.0 * n;
                    let work = net::spawn(async move {
                        sleep_until(at).await;
                        one(target, cx, patience).await
                    });
                    at_work.push((index, work));
                }
            }
            let mut fates: Vec<Vec<Fate>> = self.targets.iter().map(|_| Vec::new()).collect();
            for (index, work) in at_work {
                // When it panics the lab ends.
                fates[index].extend(work.await.ok());
            }
            let width = self.targets.iter().map(|target| target.label.chars().count()).max().unwrap_or(0);
            let mut status = 0;
            for (target, fates) in self.targets.iter().zip(&fates) {
                let (line, fits) = row(target, width, fates);
                cx.print(line);
                if !fits {
                    status = 1;
                }
            }
            status
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_share_is_of_all_who_asked() {
        let target =
            Target { label: "x".into(), url: String::new(), post: None, at_least: Some(50), at_most: None };
        let fates = [Fate::Served(Duration::from_millis(3)), Fate::Status(503), Fate::Waited, Fate::Waited];
        let (line, fits) = row(&target, 3, &fates);
        assert_eq!(
            line,
            "x      1 of 4 served   25 %  #####...............  median 3.0 ms  1: answer 503  2: out of patience"
        );
        assert!(!fits);
    }
}
