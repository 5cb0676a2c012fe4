//! The little JavaScript that attacks and pages of the catalogue need: straight-line statements over `document.cookie`,
//! `localStorage`, `fetch`, `location`, forms and images, with strings, `+`, objects and `await`. What is written runs in a real
//! browser with the same effects; what goes beyond is an error that says so, never a guess. Not done: functions, conditions,
//! loops, exceptions, `this`, the DOM.
//!
//! A script is compiled to a list of steps, and [`Machine`] runs it up to its next effect: who drives it does the effect and hands
//! back the value. So scripts know neither network nor clock.

use core::fmt;
use std::collections::BTreeMap;

use url::Url;

mod parse;

use parse::{Op, parse};

/// What a script can hold.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// `undefined`.
    Undefined,
    /// A string.
    Text(String),
    /// A number; only whole ones can be written.
    Number(i64),
    /// `true`, `false`.
    Bool(bool),
    /// `{ … }`.
    Object(Vec<(String, Value)>),
    /// What `fetch` brought.
    Response {
        /// Its status.
        status: u16,
        /// Its body.
        text: String,
    },
    /// Something of the browser, by its path: `document`, `document.forms`, `localStorage.getItem`.
    Host(String),
    /// A form, by its number or name.
    Form(String),
    /// `new Image()`.
    Image,
    /// A response's `text` or `json`, before it is called.
    Read(String, bool),
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Undefined => f.write_str("undefined"),
            Value::Text(text) => f.write_str(text),
            Value::Number(n) => write!(f, "{n}"),
            Value::Bool(b) => write!(f, "{b}"),
            Value::Object(_) | Value::Host(_) | Value::Form(_) | Value::Image => {
                f.write_str("[object Object]")
            }
            Value::Response { .. } => f.write_str("[object Response]"),
            Value::Read(..) => f.write_str("function"),
        }
    }
}

/// A call of `fetch`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fetch {
    /// The URL as written.
    pub url: String,
    /// `method`.
    pub method: Option<String>,
    /// `mode`.
    pub mode: Option<String>,
    /// `credentials`.
    pub credentials: Option<String>,
    /// `headers`.
    pub headers: Vec<(String, String)>,
    /// `body`.
    pub body: Option<String>,
}

/// What a script wants of the browser.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// `fetch(…)`: hand back a [`Value::Response`], or an error when it is blocked or fails.
    Fetch(Fetch),
    /// `document.cookie`: hand back its text.
    Cookie,
    /// `document.cookie = …`.
    SetCookie(String),
    /// `localStorage.getItem(…)`: hand back the text or `Undefined`.
    Stored(String),
    /// `localStorage.setItem(…, …)`.
    Store(String, String),
    /// `location = …`.
    Navigate(String),
    /// `document.forms[…].submit()`.
    Submit(String),
    /// `new Image().src = …`.
    Image(String),
    /// `document.write(…)`: the browser reads it as part of the page.
    Write(String),
    /// `console.log(…)`.
    Log(String),
}

/// Why a script stopped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScriptError(pub String);

impl fmt::Display for ScriptError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn beyond(what: impl fmt::Display) -> ScriptError {
    ScriptError(format!("beyond the JavaScript that this browser runs: {what}"))
}

/// Bytes that a script may hold in one string.
const STRING: usize = 1 << 20;

/// A script at work.
#[derive(Clone, Debug)]
pub struct Machine {
    ops: Vec<Op>,
    next: usize,
    stack: Vec<Value>,
    names: BTreeMap<String, Value>,
    page: Url,
    /// The effect that was handed out has a value.
    awaited: bool,
}

impl Machine {
    /// Reads a script of the page at this URL.
    ///
    /// # Errors
    /// When it is beyond what is understood.
    pub fn new(text: &str, page: &Url) -> Result<Machine, ScriptError> {
        let ops = parse(text)?;
        Ok(Machine {
            ops,
            next: 0,
            stack: Vec::new(),
            names: BTreeMap::new(),
            page: page.clone(),
            awaited: false,
        })
    }

    /// Runs up to the next effect; `None` at the end. The value of the effect before, if it has one, must have been handed back.
    ///
    /// # Errors
    /// When it asks for something that is not there.
    pub fn run(&mut self) -> Result<Option<Effect>, ScriptError> {
        assert!(!self.awaited, "the effect's value is handed back before the script goes on");
        while let Some(op) = self.ops.get(self.next).cloned() {
            self.next += 1;
            if let Some(effect) = self.step(op)? {
                self.awaited = matches!(effect, Effect::Fetch(_) | Effect::Cookie | Effect::Stored(_));
                return Ok(Some(effect));
            }
        }
        Ok(None)
    }

    /// The value of the effect that was handed out last.
    pub fn resume(&mut self, value: Value) {
        assert!(self.awaited, "only fetch, cookies and storage have a value");
        self.awaited = false;
        self.stack.push(value);
    }

    fn pop(&mut self) -> Value {
        self.stack.pop().expect("the parser pushes what a step takes")
    }

    fn step(&mut self, op: Op) -> Result<Option<Effect>, ScriptError> {
        match op {
            Op::Push(value) => self.stack.push(value),
            Op::Drop => drop(self.pop()),
            Op::Load(name) => {
                let value = self.load(&name)?;
                self.stack.push(value);
            }
            Op::Store(name) => {
                let value = self.pop();
                if name == "location" {
                    return Ok(Some(Effect::Navigate(value.to_string())));
                }
                self.names.insert(name, value);
            }
            Op::Add => {
                let (right, left) = (self.pop(), self.pop());
                let sum = match (left, right) {
                    (Value::Number(a), Value::Number(b)) => Value::Number(a.wrapping_add(b)),
                    (left, right) => Value::Text(format!("{left}{right}")),
                };
                if matches!(&sum, Value::Text(text) if text.len() > STRING) {
                    return Err(ScriptError("RangeError: Invalid string length".into()));
                }
                self.stack.push(sum);
            }
            Op::Object(names) => {
                let values = self.stack.split_off(self.stack.len() - names.len());
                self.stack.push(Value::Object(names.into_iter().zip(values).collect()));
            }
            Op::Member(name) => return self.member(&name),
            Op::Assign(name) => {
                let (value, owner) = (self.pop(), self.pop());
                return assign(&owner, &name, &value);
            }
            Op::Call(count) => {
                let arguments = self.stack.split_off(self.stack.len() - count);
                let function = self.pop();
                return self.call(function, &arguments);
            }
        }
        Ok(None)
    }

    fn load(&self, name: &str) -> Result<Value, ScriptError> {
        const HOST: [&str; 10] = [
            "document",
            "localStorage",
            "sessionStorage",
            "fetch",
            "location",
            "console",
            "encodeURIComponent",
            "decodeURIComponent",
            "alert",
            "JSON",
        ];
        if let Some(value) = self.names.get(name) {
            return Ok(value.clone());
        }
        if ["window", "self", "globalThis"].contains(&name) {
            return Ok(Value::Host("window".into()));
        }
        if HOST.contains(&name) {
            return Ok(Value::Host(name.into()));
        }
        Err(ScriptError(format!("ReferenceError: {name} is not defined")))
    }

    fn member(&mut self, name: &str) -> Result<Option<Effect>, ScriptError> {
        let value = match self.pop() {
            Value::Host(path) => match (path.as_str(), name) {
                ("document", "cookie") => return Ok(Some(Effect::Cookie)),
                ("window", name) => self.load(name)?,
                ("document", "location") => Value::Host("location".into()),
                ("document", "URL") | ("location", "href") => Value::Text(self.page.to_string()),
                ("document" | "location", "domain" | "hostname") => {
                    Value::Text(self.page.host_str().unwrap_or_default().into())
                }
                ("location", "origin") => Value::Text(super::site::origin(&self.page)),
                ("location", "search") => {
                    Value::Text(self.page.query().map_or(String::new(), |q| format!("?{q}")))
                }
                ("location", "hash") => {
                    Value::Text(self.page.fragment().map_or(String::new(), |f| format!("#{f}")))
                }
                ("document.forms", form) => Value::Form(form.into()),
                ("localStorage" | "sessionStorage", key) if !["getItem", "setItem"].contains(&key) => {
                    return Ok(Some(Effect::Stored(key.into())));
                }
                (path, name) => Value::Host(format!("{path}.{name}")),
            },
            Value::Response { status, .. } if name == "status" => Value::Number(status.into()),
            Value::Response { status, .. } if name == "ok" => Value::Bool((200..300).contains(&status)),
            Value::Response { text, .. } if name == "text" || name == "json" => {
                Value::Read(text, name == "json")
            }
            Value::Object(fields) => {
                fields.into_iter().find(|(has, _)| has == name).map_or(Value::Undefined, |(_, value)| value)
            }
            Value::Form(form) if name == "submit" || name == "requestSubmit" => {
                Value::Host(format!("submit {form}"))
            }
            Value::Undefined => {
                return Err(ScriptError(format!(
                    "TypeError: Cannot read properties of undefined (reading '{name}')"
                )));
            }
            other => return Err(beyond(format_args!("`.{name}` of {other}"))),
        };
        self.stack.push(value);
        Ok(None)
    }

    fn call(&mut self, function: Value, arguments: &[Value]) -> Result<Option<Effect>, ScriptError> {
        let text = |n: usize| arguments.get(n).unwrap_or(&Value::Undefined).to_string();
        let path = match function {
            Value::Host(path) => path,
            Value::Read(body, false) => {
                self.stack.push(Value::Text(body));
                return Ok(None);
            }
            Value::Read(body, true) => {
                let json = serde_json::from_str(&body);
                let json = json.map_err(|e| ScriptError(format!("SyntaxError: the body is no JSON: {e}")))?;
                self.stack.push(from_json(&json));
                return Ok(None);
            }
            other => return Err(ScriptError(format!("TypeError: {other} is not a function"))),
        };
        let effect = match path.as_str() {
            "fetch" => return fetch(arguments).map(|call| Some(Effect::Fetch(call))),
            "localStorage.getItem" | "sessionStorage.getItem" => return Ok(Some(Effect::Stored(text(0)))),
            "localStorage.setItem" | "sessionStorage.setItem" => Effect::Store(text(0), text(1)),
            "console.log" | "alert" => {
                Effect::Log(arguments.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "))
            }
            "document.write" => Effect::Write(text(0)),
            "location.assign" | "location.replace" => Effect::Navigate(text(0)),
            "document.getElementById" => {
                self.stack.push(Value::Form(text(0)));
                return Ok(None);
            }
            "encodeURIComponent" => {
                self.stack.push(Value::Text(encode_component(&text(0))));
                return Ok(None);
            }
            "decodeURIComponent" => {
                let decoded: Vec<u8> = percent_decoded(&text(0));
                self.stack.push(Value::Text(String::from_utf8_lossy(&decoded).into_owned()));
                return Ok(None);
            }
            "JSON.stringify" => {
                let json = to_json(arguments.first().unwrap_or(&Value::Undefined));
                self.stack.push(Value::Text(json.to_string()));
                return Ok(None);
            }
            path => match path.strip_prefix("submit ") {
                Some(form) => Effect::Submit(form.into()),
                None => return Err(beyond(format_args!("`{path}()`"))),
            },
        };
        self.stack.push(Value::Undefined);
        Ok(Some(effect))
    }
}

fn assign(owner: &Value, name: &str, value: &Value) -> Result<Option<Effect>, ScriptError> {
    let text = value.to_string();
    let effect = match (owner, name) {
        (Value::Host(path), "cookie") if path == "document" => Effect::SetCookie(text),
        (Value::Host(path), "href") if path == "location" => Effect::Navigate(text),
        (Value::Host(path), "location") if path == "document" || path == "window" => Effect::Navigate(text),
        (Value::Host(path), key) if path == "localStorage" || path == "sessionStorage" => {
            Effect::Store(key.into(), text)
        }
        (Value::Image, "src") => Effect::Image(text),
        (other, name) => return Err(beyond(format_args!("`.{name} =` of {other}"))),
    };
    Ok(Some(effect))
}

fn fetch(arguments: &[Value]) -> Result<Fetch, ScriptError> {
    let mut call =
        Fetch { url: arguments.first().unwrap_or(&Value::Undefined).to_string(), ..Fetch::default() };
    let Some(Value::Object(options)) = arguments.get(1) else { return Ok(call) };
    for (name, value) in options {
        match (name.as_str(), value) {
            ("method", value) => call.method = Some(value.to_string()),
            ("mode", value) => call.mode = Some(value.to_string()),
            ("credentials", value) => call.credentials = Some(value.to_string()),
            ("body", value) => call.body = Some(value.to_string()),
            ("headers", Value::Object(fields)) => {
                call.headers = fields.iter().map(|(name, value)| (name.clone(), value.to_string())).collect();
            }
            (name, _) => return Err(beyond(format_args!("`{name}` in the options of fetch"))),
        }
    }
    Ok(call)
}

fn from_json(json: &serde_json::Value) -> Value {
    use serde_json::Value as Json;
    match json {
        Json::Null => Value::Undefined,
        Json::Bool(b) => Value::Bool(*b),
        Json::Number(n) => n.as_i64().map_or_else(|| Value::Text(n.to_string()), Value::Number),
        Json::String(text) => Value::Text(text.clone()),
        // Deeper than one level it stays text: serde_json limits the depth, and no script here goes further.
        Json::Object(map) => {
            let flat = |value: &Json| match value {
                Json::Object(_) | Json::Array(_) => Value::Text(value.to_string()),
                plain => from_json(plain),
            };
            Value::Object(map.iter().map(|(name, value)| (name.clone(), flat(value))).collect())
        }
        Json::Array(_) => Value::Text(json.to_string()),
    }
}

fn to_json(value: &Value) -> serde_json::Value {
    match value {
        Value::Object(fields) => {
            let plain = |value: &Value| match value {
                Value::Number(n) => serde_json::json!(n),
                Value::Bool(b) => serde_json::json!(b),
                other => serde_json::json!(other.to_string()),
            };
            fields
                .iter()
                .map(|(name, value)| (name.clone(), plain(value)))
                .collect::<serde_json::Map<_, _>>()
                .into()
        }
        Value::Number(n) => serde_json::json!(n),
        Value::Bool(b) => serde_json::json!(b),
        other => serde_json::json!(other.to_string()),
    }
}

/// ECMA-262 §19.2.6.5: everything but letters, digits and `-_.!~*'()`.
fn encode_component(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.!~*'()".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

fn percent_decoded(text: &str) -> Vec<u8> {
    let bytes = text.as_bytes();
    let (mut out, mut at) = (Vec::with_capacity(bytes.len()), 0);
    while at < bytes.len() {
        let code = text.get(at + 1..at + 3).filter(|_| bytes[at] == b'%');
        match code.and_then(|code| u8::from_str_radix(code, 16).ok()) {
            Some(byte) => {
                out.push(byte);
                at += 3;
            }
            None => {
                out.push(bytes[at]);
                at += 1;
            }
        }
    }
    out
}

#[cfg(test)]
mod tests;
