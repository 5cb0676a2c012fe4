//! Evaluates statements: `assert`, `print`, assignment; integers, strings with `%`, comparisons in chains.

use std::collections::BTreeMap;

/// Parentheses in parentheses.
const MAX_DEPTH: usize = 32;

/// What a variable holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::run) enum Value {
    Int(i128),
    Text(String),
    Tuple(Vec<Value>),
}

impl Value {
    fn show(&self) -> String {
        match self {
            Value::Int(n) => n.to_string(),
            Value::Text(s) => s.clone(),
            Value::Tuple(all) => {
                let parts: Vec<String> = all.iter().map(Value::show).collect();
                format!("({})", parts.join(", "))
            }
        }
    }

    fn truth(&self) -> bool {
        match self {
            Value::Int(n) => *n != 0,
            Value::Text(s) => !s.is_empty(),
            Value::Tuple(all) => !all.is_empty(),
        }
    }
}

/// Why a block did not run to its end.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum CodeError {
    /// An assertion does not hold, or a value is not fit for its operator.
    Failed(String),
    /// Not in the part of Python that is understood here.
    Unsupported(String),
}

type Evaluated<T> = Result<T, CodeError>;

pub(super) type Vars = BTreeMap<String, Value>;

/// Runs a block; what it prints is appended to `out`.
pub(super) fn run(text: &str, vars: &mut Vars, out: &mut String) -> Evaluated<()> {
    for statement in statements(text)? {
        let tokens = tokens(&statement)?;
        let mut parser = Eval { tokens: &tokens, at: 0, vars };
        parser.statement(&statement, out)?;
    }
    Ok(())
}

/// Splits at line ends and semicolons, outside of strings; comments go, continued lines are joined.
fn statements(text: &str) -> Evaluated<Vec<String>> {
    let mut all = Vec::new();
    let mut now = String::new();
    let mut quote: Option<char> = None;
    let mut depth = 0_usize;
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match (quote, c) {
            (Some(q), _) => {
                now.push(c);
                if c == q {
                    quote = None;
                }
            }
            (None, '"' | '\'') => {
                quote = Some(c);
                now.push(c);
            }
            (None, '#') => {
                while chars.peek().is_some_and(|c| *c != '\n') {
                    chars.next();
                }
            }
            (None, '\\') if chars.peek() == Some(&'\n') => {
                chars.next();
            }
            (None, '\n') if depth > 0 => now.push(' '),
            (None, '\n' | ';') => all.push(core::mem::take(&mut now)),
            (None, _) => {
                depth = match c {
                    '(' | '[' => depth + 1,
                    ')' | ']' => depth.saturating_sub(1),
                    _ => depth,
                };
                now.push(c);
            }
        }
    }
    if quote.is_some() {
        return Err(CodeError::Unsupported("a string without end".into()));
    }
    all.push(now);
    Ok(all.into_iter().map(|s| s.trim().to_owned()).filter(|s| !s.is_empty()).collect())
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    Int(i128),
    Text(String),
    Name(String),
    Op(&'static str),
}

/// Longest first.
const OPS: &[&str] = &[
    "<<", ">>", "//", "**", "==", "!=", "<=", ">=", "+=", "-=", "<", ">", "=", "+", "-", "*", "/", "%", "&",
    "|", "^", "~", "(", ")", ",", ".", "[", "]", ":",
];

fn tokens(text: &str) -> Evaluated<Vec<Token>> {
    let mut all = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let word = rest.bytes().take_while(|b| b.is_ascii_alphanumeric() || *b == b'_').count();
        let len = if first == '"' || first == '\'' {
            let len = rest[1..].find(first).expect("statements has seen its end");
            all.push(Token::Text(rest[1..=len].to_owned()));
            len + 2
        } else if first.is_ascii_digit() {
            let digits = rest[..word].replace('_', "");
            let n = match digits.strip_prefix("0x") {
                Some(hex) => i128::from_str_radix(hex, 16),
                None => digits.parse(),
            };
            all.push(Token::Int(n.map_err(|_| CodeError::Unsupported(format!("number {digits}")))?));
            word
        } else if word > 0 {
            all.push(Token::Name(rest[..word].to_owned()));
            word
        } else {
            let Some(op) = OPS.iter().find(|op| rest.starts_with(**op)) else {
                return Err(CodeError::Unsupported(format!("{first:?} in code")));
            };
            all.push(Token::Op(op));
            op.len()
        };
        rest = rest[len..].trim_start();
    }
    Ok(all)
}

/// What begins statements of Python that are not understood here.
const PYTHON: &[&str] = &[
    "import", "from", "for", "while", "if", "elif", "else", "def", "class", "return", "try", "except",
    "finally", "with", "del", "global", "raise", "lambda", "yield", "async", "await", "nonlocal", "break",
    "continue", "match",
];

struct Eval<'a> {
    tokens: &'a [Token],
    at: usize,
    vars: &'a mut Vars,
}

fn failed<T>(text: impl Into<String>) -> Evaluated<T> {
    Err(CodeError::Failed(text.into()))
}

/// Binary operators by how tightly they bind, loosest first.
const LEVELS: &[&[&str]] = &[&["|"], &["^"], &["&"], &["<<", ">>"], &["+", "-"], &["*", "//", "%", "/"]];

impl Eval<'_> {
    fn op(&mut self, wanted: &str) -> bool {
        let here = matches!(self.tokens.get(self.at), Some(Token::Op(op)) if *op == wanted);
        self.at += usize::from(here);
        here
    }

    fn name(&mut self, wanted: &str) -> bool {
        let here = matches!(self.tokens.get(self.at), Some(Token::Name(name)) if name == wanted);
        self.at += usize::from(here);
        here
    }

    fn end(&self) -> bool {
        self.at >= self.tokens.len()
    }

    fn unsupported<T>(&self, statement: &str) -> Evaluated<T> {
        Err(CodeError::Unsupported(statement.to_owned()))
    }

    fn statement(&mut self, text: &str, out: &mut String) -> Evaluated<()> {
        if let Some(Token::Name(name)) = self.tokens.first()
            && PYTHON.contains(&name.as_str())
        {
            return self.unsupported(text);
        }
        if self.name("pass") {
            return Ok(());
        }
        if self.name("assert") {
            let holds = self.expression(0)?;
            let message = if self.op(",") { Some(self.expression(0)?) } else { None };
            if !self.end() {
                return self.unsupported(text);
            }
            if holds.truth() {
                return Ok(());
            }
            let message = message.map_or(String::new(), |m| format!(": {}", m.show()));
            return failed(format!("AssertionError{message} ({text})"));
        }
        if let [Token::Name(name), Token::Op("("), ..] = self.tokens
            && name == "print"
        {
            self.at = 2;
            let values = self.arguments(0)?;
            if !self.end() {
                return self.unsupported(text);
            }
            let parts: Vec<String> = values.iter().map(Value::show).collect();
            out.push(' ');
            out.push_str(&parts.join(" "));
            return Ok(());
        }
        if let [Token::Name(name), Token::Op(op @ ("=" | "+=" | "-=")), ..] = self.tokens {
            self.at = 2;
            let mut value = self.expression(0)?;
            if !self.end() {
                return self.unsupported(text);
            }
            if *op != "=" {
                let Some(old) = self.vars.get(name).cloned() else {
                    return failed(format!("NameError: name '{name}' is not defined"));
                };
                value = binary(&op[..1], old, value)?;
            }
            self.vars.insert(name.clone(), value);
            return Ok(());
        }
        self.expression(0)?;
        if self.end() { Ok(()) } else { self.unsupported(text) }
    }

    /// Up to and with the closing parenthesis.
    fn arguments(&mut self, depth: usize) -> Evaluated<Vec<Value>> {
        let mut all = Vec::new();
        while !self.op(")") {
            all.push(self.expression(depth)?);
            if !self.op(",") && !matches!(self.tokens.get(self.at), Some(Token::Op(")"))) {
                return Err(CodeError::Unsupported("an argument list".into()));
            }
        }
        Ok(all)
    }

    fn expression(&mut self, depth: usize) -> Evaluated<Value> {
        let mut left = self.conjunction(depth)?;
        while self.name("or") {
            let right = self.conjunction(depth)?;
            left = if left.truth() { left } else { right };
        }
        Ok(left)
    }

    fn conjunction(&mut self, depth: usize) -> Evaluated<Value> {
        let mut left = self.negation(depth)?;
        while self.name("and") {
            let right = self.negation(depth)?;
            left = if left.truth() { right } else { left };
        }
        Ok(left)
    }

    fn negation(&mut self, depth: usize) -> Evaluated<Value> {
        if self.name("not") {
            let value = self.comparison(depth)?;
            return Ok(Value::Int(i128::from(!value.truth())));
        }
        self.comparison(depth)
    }

    /// `a <= b < c` is `a <= b and b < c`.
    fn comparison(&mut self, depth: usize) -> Evaluated<Value> {
        let mut left = self.level(0, depth)?;
        let mut result = None;
        while let Some(Token::Op(op @ ("==" | "!=" | "<" | "<=" | ">" | ">="))) = self.tokens.get(self.at) {
            let op = *op;
            self.at += 1;
            let right = self.level(0, depth)?;
            let holds = match (op, &left, &right) {
                ("==", a, b) => a == b,
                ("!=", a, b) => a != b,
                (op, Value::Int(a), Value::Int(b)) => match op {
                    "<" => a < b,
                    "<=" => a <= b,
                    ">" => a > b,
                    _ => a >= b,
                },
                _ => {
                    return failed(format!("TypeError: '{op}' between {} and {}", left.show(), right.show()));
                }
            };
            result = Some(result.unwrap_or(true) && holds);
            left = right;
        }
        Ok(result.map_or(left, |r| Value::Int(i128::from(r))))
    }

    fn level(&mut self, level: usize, depth: usize) -> Evaluated<Value> {
        let Some(ops) = LEVELS.get(level) else { return self.unary(depth) };
        let mut left = self.level(level + 1, depth)?;
        loop {
            let op = match self.tokens.get(self.at) {
                Some(Token::Op(op)) if ops.contains(op) => *op,
                _ => return Ok(left),
            };
            self.at += 1;
            let right = self.level(level + 1, depth)?;
            left = binary(op, left, right)?;
        }
    }

    fn unary(&mut self, depth: usize) -> Evaluated<Value> {
        let mut negative = false;
        while self.op("-") {
            negative = !negative;
        }
        match (self.primary(depth)?, negative) {
            (value, false) => Ok(value),
            (Value::Int(n), true) => Ok(Value::Int(-n)),
            (other, true) => failed(format!("TypeError: -{}", other.show())),
        }
    }

    fn primary(&mut self, depth: usize) -> Evaluated<Value> {
        if depth > MAX_DEPTH {
            return Err(CodeError::Unsupported("parentheses nested too deeply".into()));
        }
        let token = self.tokens.get(self.at).cloned();
        self.at += 1;
        match token {
            Some(Token::Int(n)) => Ok(Value::Int(n)),
            Some(Token::Text(text)) => Ok(Value::Text(text)),
            Some(Token::Op("(")) => {
                let mut all = self.arguments(depth + 1)?;
                let tuple = matches!(self.tokens.get(self.at.wrapping_sub(2)), Some(Token::Op(",")));
                if all.len() == 1 && !tuple { Ok(all.remove(0)) } else { Ok(Value::Tuple(all)) }
            }
            Some(Token::Name(name)) => match name.as_str() {
                "True" => Ok(Value::Int(1)),
                "False" => Ok(Value::Int(0)),
                "abs" | "min" | "max" | "int" if self.op("(") => {
                    let all = self.arguments(depth + 1)?;
                    function(&name, &all)
                }
                _ => match self.vars.get(&name) {
                    Some(value) => Ok(value.clone()),
                    None => failed(format!("NameError: name '{name}' is not defined")),
                },
            },
            other => Err(CodeError::Unsupported(format!("{other:?} in an expression"))),
        }
    }
}

fn function(name: &str, args: &[Value]) -> Evaluated<Value> {
    let numbers: Option<Vec<i128>> =
        args.iter().map(|v| if let Value::Int(n) = v { Some(*n) } else { None }).collect();
    let numbers = numbers.unwrap_or_default();
    let result = match name {
        "abs" | "int" if numbers.len() == 1 => {
            Some(if name == "abs" { numbers[0].abs() } else { numbers[0] })
        }
        "min" => numbers.iter().copied().min(),
        "max" => numbers.iter().copied().max(),
        _ => None,
    };
    result.map(Value::Int).ok_or_else(|| CodeError::Unsupported(format!("{name} of these arguments")))
}

fn binary(op: &str, left: Value, right: Value) -> Evaluated<Value> {
    let (a, b) = match (left, right) {
        (Value::Int(a), Value::Int(b)) => (a, b),
        (Value::Text(a), Value::Text(b)) if op == "+" => return Ok(Value::Text(a + &b)),
        (Value::Text(format), value) if op == "%" => return Ok(Value::Text(formatted(&format, value)?)),
        (a, b) => return failed(format!("TypeError: {} {op} {}", a.show(), b.show())),
    };
    let n = match op {
        "|" => Some(a | b),
        "^" => Some(a ^ b),
        "&" => Some(a & b),
        "<<" => u32::try_from(b).ok().and_then(|b| a.checked_shl(b)),
        ">>" => u32::try_from(b).ok().and_then(|b| a.checked_shr(b)),
        "+" => a.checked_add(b),
        "-" => a.checked_sub(b),
        "*" => a.checked_mul(b),
        "//" | "%" | "/" if b == 0 => return failed("ZeroDivisionError: division by zero"),
        "//" => Some(a.div_euclid(b) - i128::from(b < 0 && a.rem_euclid(b) != 0)),
        // Python's remainder has the divisor's sign.
        "%" => Some(((a % b) + b) % b),
        "/" if a % b == 0 => Some(a / b),
        _ => return Err(CodeError::Unsupported(format!("{a} {op} {b}: no whole number"))),
    };
    n.map(Value::Int).ok_or_else(|| CodeError::Unsupported(format!("{a} {op} {b} is too large")))
}

/// `'%d of %s' % (…)`
fn formatted(format: &str, value: Value) -> Evaluated<String> {
    let mut values = match value {
        Value::Tuple(all) => all,
        one => vec![one],
    }
    .into_iter();
    let mut out = String::new();
    let mut chars = format.chars();
    while let Some(c) = chars.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        match (chars.next(), ()) {
            (Some('%'), ()) => out.push('%'),
            (Some('d' | 's' | 'u' | 'i'), ()) => match values.next() {
                Some(value) => out.push_str(&value.show()),
                None => return failed("TypeError: not enough arguments for format string"),
            },
            (Some('x'), ()) => match values.next() {
                Some(Value::Int(n)) => out.push_str(&format!("{n:x}")),
                _ => return failed("TypeError: %x format: an integer is required"),
            },
            (other, ()) => return Err(CodeError::Unsupported(format!("format %{}", other.unwrap_or(' ')))),
        }
    }
    match values.next() {
        None => Ok(out),
        Some(_) => failed("TypeError: not all arguments converted during string formatting"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(text: &str) -> (Evaluated<()>, String) {
        let mut vars = Vars::new();
        vars.insert("cwnd".into(), Value::Int(10));
        let mut out = String::new();
        (run(text, &mut vars, &mut out), out)
    }

    fn holds(text: &str) {
        assert_eq!(after(text).0, Ok(()), "{text}");
    }

    #[test]
    fn what_the_public_scripts_use() {
        holds("assert cwnd == 10, cwnd  # comment; with semicolon");
        holds("cwnd += 5; assert cwnd == 15, 'cwnd=%d' % cwnd");
        holds("assert 5 <= cwnd <= 10, cwnd\nassert (cwnd & 2) != 0, cwnd");
        holds("assert cwnd == 10,\\\n cwnd; \\\n assert 990 <= 1000");
        holds("X = 0x7fffffff\nassert X == 2147483647");
        holds("assert -7 % 3 == 2 and -7 // 2 == -4 and not 0");
        holds("assert max(1, 2) == 2");
        assert_eq!(after("print(cwnd, 'x')").1, " 10 x");
    }

    #[test]
    fn a_false_assertion_says_its_message_and_itself() {
        let (result, _) = after("assert cwnd == 11, 'ca: %d %s' % (cwnd, 'x')");
        assert_eq!(
            result,
            Err(CodeError::Failed(
                "AssertionError: ca: 10 x (assert cwnd == 11, 'ca: %d %s' % (cwnd, 'x'))".into()
            ))
        );
        assert!(matches!(after("assert 1 < 3 < 2").0, Err(CodeError::Failed(_))));
        assert!(
            matches!(after("assert y == 1").0, Err(CodeError::Failed(text)) if text.contains("NameError"))
        );
    }

    #[test]
    fn other_python_is_said_to_be_unknown() {
        for text in ["import os", "for x in y: pass", "assert cwnd == 10.5", "x = [1]", "cwnd / 3"] {
            assert!(matches!(after(text).0, Err(CodeError::Unsupported(_) | CodeError::Failed(_))), "{text}");
        }
        assert!(
            matches!(after("import os").0, Err(CodeError::Unsupported(_))) || after("import os").0.is_err()
        );
    }
}
