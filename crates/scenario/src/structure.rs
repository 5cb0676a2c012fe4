//! Unknown fields, missing fields and values of the wrong type, all of them at once: the text's tree is held
//! against the JSON Schema that the types of [`crate::file`] publish, so the two cannot disagree.

use serde_json::Value;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::diagnostic::{Diagnostic, suggest};
use crate::source::{Source, join};

/// Holds a whole file against the schema, and what programs are told against the schema of each.
pub(crate) fn check(source: &Source, table: &Spanned<DeTable<'_>>, schema: &Value) -> Vec<Diagnostic> {
    let mut checker = Checker { source, root: schema, found: Vec::new() };
    checker.table("", table.get_ref(), schema);
    #[cfg_attr(not(feature = "apps"), expect(unused_mut, reason = "programs bring more"))]
    let mut found = checker.found;
    #[cfg(feature = "apps")]
    found.extend(check_apps(source, table.get_ref()));
    found
}

#[cfg(feature = "apps")]
fn check_apps(source: &Source, table: &DeTable<'_>) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    let Some(DeValue::Array(programs)) = table.get("programs").map(Spanned::get_ref) else { return found };
    for (i, program) in programs.iter().enumerate() {
        let DeValue::Table(program) = program.get_ref() else { continue };
        let Some(DeValue::String(app)) = program.get("app").map(Spanned::get_ref) else { continue };
        let Some(kind) = apps::kind(app) else { continue };
        let (path, empty) = (crate::source::place!("programs", i, "with"), DeTable::new());
        let with = match program.get("with").map(Spanned::get_ref) {
            Some(DeValue::Table(with)) => with,
            None => &empty,
            // The file's own schema complains.
            Some(_) => continue,
        };
        let schema = (kind.schema)().to_value();
        let mut checker = Checker { source, root: &schema, found: Vec::new() };
        checker.table(&path, with, &schema);
        found.extend(checker.found);
    }
    found
}

struct Checker<'a> {
    source: &'a Source,
    root: &'a Value,
    found: Vec<Diagnostic>,
}

impl<'a> Checker<'a> {
    fn resolve(&self, schema: &'a Value) -> &'a Value {
        let mut schema = schema;
        // The schema is ours and has no chain of references longer than this.
        for _ in 0..8 {
            let Some(reference) = schema.get("$ref").and_then(Value::as_str) else { break };
            let name = reference.trim_start_matches("#/$defs/");
            schema = &self.root["$defs"][name];
        }
        schema
    }

    /// The alternatives of a schema: itself, or each of `anyOf`/`oneOf`, without `null`.
    fn alternatives(&self, schema: &'a Value) -> Vec<&'a Value> {
        let schema = self.resolve(schema);
        match schema.get("anyOf").or_else(|| schema.get("oneOf")).and_then(Value::as_array) {
            Some(list) => {
                list.iter().flat_map(|s| self.alternatives(s)).filter(|s| s["type"] != "null").collect()
            }
            None => vec![schema],
        }
    }

    // Depth is bounded by the TOML parser's own limit on nesting.
    fn value(&mut self, path: &str, value: &Spanned<DeValue<'_>>, schema: &'a Value) {
        let alternatives = self.alternatives(schema);
        let fitting: Vec<&Value> =
            alternatives.iter().copied().filter(|s| accepts(s, value.get_ref())).collect();
        let Some(first) = fitting.first() else {
            let mut wanted: Vec<String> = alternatives.iter().map(|s| describe(s)).collect();
            wanted.dedup();
            let what = name_of(value.get_ref());
            let found = self.source.at_value(path, format!("expected {}, found {what}", wanted.join(" or ")));
            let help = description(self.resolve(schema)).or_else(|| description(schema));
            self.found.push(found.help(help));
            return;
        };
        match value.get_ref() {
            DeValue::Table(table) => self.table(path, table, first),
            DeValue::Array(array) => {
                for (i, item) in array.iter().enumerate() {
                    if let Some(items) = first.get("items") {
                        self.value(&join(path, &i.to_string()), item, items);
                    }
                }
            }
            DeValue::String(text) => {
                let words: Vec<&str> = fitting.iter().flat_map(|s| words(s)).collect();
                let free = fitting.iter().any(|s| words_of(s).is_none());
                if !free && !words.contains(&text.as_ref()) {
                    let found =
                        self.source.at_value(path, format!("`{text}` is not one of the words allowed here"));
                    self.found.push(found.help(suggest(text, words)));
                }
            }
            DeValue::Integer(_) | DeValue::Float(_) | DeValue::Boolean(_) | DeValue::Datetime(_) => {}
        }
    }

    fn table(&mut self, path: &str, table: &DeTable<'_>, schema: &'a Value) {
        let properties = schema.get("properties").and_then(Value::as_object);
        let others = schema.get("additionalProperties").filter(|s| s.is_object());
        for (key, value) in table {
            let name: &str = key.get_ref();
            let inner = join(path, name);
            if let Some(schema) = properties.and_then(|p| p.get(name)).or(others) {
                self.value(&inner, value, schema);
            } else if schema["additionalProperties"] != true {
                let known =
                    properties.map(|p| p.keys().map(String::as_str).collect::<Vec<_>>()).unwrap_or_default();
                let found = self.source.at_key(&inner, format!("unknown field `{name}`"));
                self.found.push(found.help(suggest(name, known)));
            }
        }
        for name in schema.get("required").and_then(Value::as_array).into_iter().flatten() {
            let name = name.as_str().expect("schemars writes names");
            if !table.iter().any(|(key, _)| key.get_ref() == name) {
                let about = properties.and_then(|p| p.get(name)).and_then(description);
                let found = self.source.at_key(path, format!("the field `{name}` is missing"));
                self.found.push(found.help(about.map(|d| format!("`{name}` is: {d}"))));
            }
        }
    }
}

fn words_of(schema: &Value) -> Option<Vec<&str>> {
    if let Some(word) = schema.get("const").and_then(Value::as_str) {
        return Some(vec![word]);
    }
    schema.get("enum").and_then(Value::as_array).map(|list| list.iter().filter_map(Value::as_str).collect())
}

fn words(schema: &Value) -> Vec<&str> {
    words_of(schema).unwrap_or_default()
}

fn description(schema: &Value) -> Option<String> {
    let text = schema.get("description")?.as_str()?;
    Some(text.split_whitespace().collect::<Vec<_>>().join(" "))
}

fn types(schema: &Value) -> Vec<&str> {
    match schema.get("type") {
        Some(Value::String(one)) => vec![one],
        Some(Value::Array(list)) => list.iter().filter_map(Value::as_str).collect(),
        _ if words_of(schema).is_some() => vec!["string"],
        _ => Vec::new(),
    }
}

fn accepts(schema: &Value, value: &DeValue<'_>) -> bool {
    let is = match value {
        DeValue::String(_) => "string",
        DeValue::Integer(_) => "integer",
        DeValue::Float(_) => "number",
        DeValue::Boolean(_) => "boolean",
        DeValue::Datetime(_) => "datetime",
        DeValue::Array(_) => "array",
        DeValue::Table(_) => "object",
    };
    let known = types(schema);
    known.contains(&is) || is == "integer" && known.contains(&"number")
}

fn name_of(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "a whole number",
        DeValue::Float(_) => "a number with a point",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}

fn describe(schema: &Value) -> String {
    let name = types(schema).into_iter().find(|t| *t != "null").unwrap_or("something else");
    match name {
        "string" => "a string in quotes".into(),
        "integer" => "a whole number".into(),
        "number" => "a number".into(),
        "boolean" => "true or false".into(),
        "array" => match schema.get("items").map(types) {
            Some(items) if items.contains(&"string") => "a list of strings".into(),
            _ => "a list".into(),
        },
        "object" => "a table".into(),
        other => other.into(),
    }
}
