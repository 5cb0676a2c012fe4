//! A scenario as run: everything named, parsed and defaulted; what is wrong with the file is said all at once.

use crate::diagnostic::Diagnostic;
use crate::file::File;
use crate::overrides::Overrides;

/// A scenario as run.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The catalogue name, or the file's name without `.toml`.
    pub name: String,
    /// The question.
    pub question: String,
    /// The question in Chinese.
    pub question_zh: Option<String>,
    /// What is set up and what to look at.
    pub about: Option<String>,
    /// Whether the real kernel must agree.
    pub kernel: bool,
    /// The seed of all randomness.
    pub seed: u64,
    /// The names of all hosts, in the order of the file.
    pub hosts: Vec<String>,
}

/// Turns a file, with the command line's changes, into what is run.
///
/// # Errors
/// Everything that is wrong with the file or the changes, in the order of the file.
pub fn plan(file: &File, overrides: &Overrides) -> Result<Plan, Vec<Diagnostic>> {
    let name = file.origin().trim_start_matches("scenarios/").trim_end_matches(".toml").to_string();
    let content = &file.content;
    Ok(Plan {
        name,
        question: content.question.clone(),
        question_zh: content.question_zh.clone(),
        about: content.about.clone(),
        kernel: content.kernel,
        seed: overrides.seed.unwrap_or_else(|| u64::from(content.seed.unwrap_or(1))),
        hosts: content.hosts.keys().cloned().collect(),
    })
}
