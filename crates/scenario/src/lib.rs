//! Scenario files, the catalogue, expectations and the twin's verdict.
//!
//! A scenario is one small TOML file ([`file`]): a question, hosts, links, programs, faults and what must
//! be seen. [`plan()`] turns the file *as written* into a [`Plan`], the scenario *as run*, or says everything
//! that is wrong with it at once ([`Diagnostic`]). [`run()`] runs a plan on any mix of hosts ([`Targets`]) and
//! checks its expectations; [`twin()`] runs it on our stack and on the real kernel and compares.
//!
//! ```
//! let entry = scenario::catalogue::find("arp-resolution").unwrap();
//! let file = scenario::file::parse(entry.text, &entry.origin()).unwrap();
//! let plan = scenario::plan(&file, &scenario::Overrides::default()).unwrap();
//! assert_eq!(plan.name, "link/arp-resolution");
//! ```

pub mod catalogue;
mod check;
mod commands;
pub mod compare;
mod diagnostic;
pub mod file;
mod outcome;
mod overrides;
mod plan;
mod run;
pub mod search;
mod source;
mod structure;
mod targets;
mod twin;
mod values;
pub mod verdicts;

pub use diagnostic::{Diagnostic, suggest};
pub use file::{File, schema};
pub use outcome::{Checked, FaultReport, Outcome, ProgramReport};
pub use overrides::Overrides;
pub use plan::{Plan, plan};
pub use run::{RunError, run, run_on_wheel};
pub use targets::{Target, Targets};
pub use twin::{Verdict, twin};
pub use values::{check_rate, check_share};
