//! What a browser does between a URL and a page, without what draws it.
//!
//! Map: [`site`] says who is who; [`cookie`], [`cache`], [`hsts`] and [`cors`] are what is remembered and what each request is
//! allowed; [`csp`] is what a page allows itself; [`document`] reads HTML for what it needs; [`script`] runs the little JavaScript
//! that rows need. None of these knows a network or a clock.

pub mod cache;
pub mod cookie;
pub mod cors;
pub mod csp;
mod date;
mod digest;
pub mod document;
pub mod hsts;
pub mod script;
pub mod site;
