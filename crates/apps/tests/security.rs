//! The application with users in virtual time: what each protection lets through and stops; and what is wrong with tables.

#[expect(dead_code, reason = "other tests use the rest")]
mod world;

use std::time::Duration;

use apps::Env;
use serde_json::{Value, json};
use world::{World, raw};

const SECRET: &str = "0123456789abcdef0123456789abcdef";

/// A server with Alice and Mallory.
fn server(application: Value) -> World {
    let mut table = json!({ "users": { "alice": "correct horse", "mallory": "battery staple" } });
    for (key, value) in application.as_object().expect("a table") {
        table[key] = value.clone();
    }
    let mut world = World::new(Duration::from_millis(1));
    world.serve("http-server", &json!({ "application": table }));
    world
}

/// Sends a request with these fields.
fn ask(world: &mut World, method: &str, path: &str, fields: &[&str], body: &str) -> String {
    let mut text = format!("{method} {path} HTTP/1.1\r\nHost: server\r\nConnection: close\r\n");
    fields.iter().for_each(|field| text.push_str(&format!("{field}\r\n")));
    if !body.is_empty() {
        text.push_str(&format!(
            "Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n",
            body.len()
        ));
    }
    world.client(raw(format!("{text}\r\n{body}").into_bytes()))
}

fn status(answer: &str) -> &str {
    answer.split(' ').nth(1).unwrap_or_default()
}

fn field<'a>(answer: &'a str, name: &str) -> Option<&'a str> {
    answer.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
}

/// Logs in; the cookie as it is sent back.
fn login(world: &mut World) -> String {
    let answer = ask(world, "POST", "/login", &[], "user=alice&password=correct+horse");
    assert_eq!(status(&answer), "303", "{answer}");
    let cookie = field(&answer, "Set-Cookie").expect("a cookie").split(';').next().expect("a value");
    format!("Cookie: {cookie}")
}

#[test]
fn a_session_begins_with_the_password_and_ends_with_the_logout() {
    let mut world = server(json!({}));
    for body in [
        "user=alice&password=wrong",
        "user=nobody&password=correct+horse",
        "user=alice",
        "password=correct+horse",
    ] {
        assert_eq!(status(&ask(&mut world, "POST", "/login", &[], body)), "401", "{body}");
    }
    assert_eq!(status(&ask(&mut world, "GET", "/account", &[], "")), "401");
    assert_eq!(
        status(&ask(&mut world, "GET", "/account", &["Cookie: sid=AAAAAAAAAAAAAAAAAAAAAA"], "")),
        "401"
    );
    let first = login(&mut world);
    let second = login(&mut world);
    assert_ne!(first, second, "each login has a number of its own");
    let account = ask(&mut world, "GET", "/account", &[&first], "");
    assert!(account.ends_with("{\"user\":\"alice\",\"balance\":100,\"by\":\"cookie\"}\n"), "{account}");
    assert_eq!(field(&account, "Cache-Control"), Some("no-store"));
    // A number that the client brings along is not taken over.
    let answer = ask(&mut world, "POST", "/login", &[&first], "user=alice&password=correct+horse");
    assert!(!field(&answer, "Set-Cookie").expect("a cookie").contains(&first["Cookie: ".len()..]));
    let out = ask(&mut world, "POST", "/logout", &[&first], "");
    assert!(field(&out, "Set-Cookie").expect("it is taken away").contains("Max-Age=0"));
    assert_eq!(status(&ask(&mut world, "GET", "/account", &[&first], "")), "401");
    assert_eq!(status(&ask(&mut world, "GET", "/account", &[&second], "")), "200");
}

#[test]
fn money_moves_once_and_not_more_than_there_is() {
    let mut world = server(json!({ "balances": { "alice": 50 } }));
    let cookie = login(&mut world);
    let rows = [
        ("to=mallory&amount=51", "422"),
        ("to=nobody&amount=1", "422"),
        ("to=mallory&amount=-1", "422"),
        ("to=mallory&amount=0", "422"),
        ("to=mallory", "422"),
        ("to=mallory&amount=99999999999999999999", "422"),
        ("to=mallory&amount=20", "200"),
        ("to=alice&amount=30", "200"),
        ("to=mallory&amount=31", "422"),
    ];
    for (body, wanted) in rows {
        assert_eq!(status(&ask(&mut world, "POST", "/transfer", &[&cookie], body)), wanted, "{body}");
    }
    assert!(ask(&mut world, "GET", "/account", &[&cookie], "").contains("\"balance\":30"));
    // GET moves nothing unless the table says so.
    assert_eq!(status(&ask(&mut world, "GET", "/transfer?to=mallory&amount=5", &[&cookie], "")), "200");
    assert!(ask(&mut world, "GET", "/account", &[&cookie], "").contains("\"balance\":30"));
    assert_eq!(status(&ask(&mut world, "DELETE", "/transfer", &[&cookie], "")), "405");
    assert_eq!(
        status(&ask(
            &mut world,
            "POST",
            "/transfer",
            &[&cookie, "Content-Type: text/plain", "Content-Length: 0"],
            ""
        )),
        "415"
    );
}

#[test]
fn each_defence_against_forged_requests_stops_them_by_itself() {
    let evil = "Origin: https://evil.example";
    // The defence, then fields that come along and what is answered.
    type Tried<'a> = (&'a [&'a str], &'a str);
    let rows: &[(Value, &[Tried<'_>])] = &[
        (json!({}), &[(&[evil], "200")]),
        (json!({ "token": true }), &[(&[evil], "403"), (&["Origin: http://server"], "403")]),
        (
            json!({ "origin": true }),
            &[
                (&[evil], "403"),
                (&["Origin: null"], "403"),
                (&[], "403"),
                (&["Origin: http://server"], "200"),
                (&["Origin: https://server"], "403"),
                (&["Origin: http://server.evil.example"], "403"),
                (&["Referer: http://server/transfer"], "200"),
                (&["Referer: http://evil.example/?http://server/"], "403"),
                (&[evil, "Referer: http://server/transfer"], "403"),
            ],
        ),
        (
            json!({ "fetch_metadata": true }),
            &[
                (&["Sec-Fetch-Site: cross-site"], "403"),
                (&["Sec-Fetch-Site: same-site"], "403"),
                (&["Sec-Fetch-Site: same-origin"], "200"),
                (&["Sec-Fetch-Site: none"], "200"),
            ],
        ),
    ];
    for (csrf, requests) in rows {
        let mut world = server(json!({ "csrf": csrf }));
        let cookie = login(&mut world);
        for (fields, wanted) in *requests {
            let fields: Vec<&str> = fields.iter().copied().chain([cookie.as_str()]).collect();
            let answer = ask(&mut world, "POST", "/transfer", &fields, "to=mallory&amount=1");
            assert_eq!(status(&answer), *wanted, "{csrf} {fields:?}: {answer}");
        }
    }
    let mut world = server(json!({ "csrf": { "token": true } }));
    let cookie = login(&mut world);
    let form = ask(&mut world, "GET", "/transfer", &[&cookie], "");
    let token = form
        .split("name=csrf value=\"")
        .nth(1)
        .and_then(|rest| rest.split('"').next())
        .expect("a hidden field");
    let with = |value: &str| format!("to=mallory&amount=1&csrf={value}");
    assert_eq!(status(&ask(&mut world, "POST", "/transfer", &[&cookie], &with(token))), "200");
    let other = login(&mut world);
    assert_eq!(
        status(&ask(&mut world, "POST", "/transfer", &[&other], &with(token))),
        "403",
        "another login's"
    );
    assert_eq!(status(&ask(&mut world, "POST", "/transfer", &[&cookie], &with(""))), "403");
}

#[test]
fn a_bearer_needs_no_other_proof_and_a_cookie_with_a_token_does() {
    let token = |delivery: &str| json!({ "login": "token", "csrf": { "origin": true }, "token": { "secret": SECRET, "delivery": delivery } });
    let mut world = server(token("body"));
    let answer = ask(&mut world, "POST", "/login", &[], "user=alice&password=correct+horse");
    let body = answer.split("\r\n\r\n").nth(1).expect("a body");
    let bearer =
        serde_json::from_str::<Value>(body).expect("JSON")["token"].as_str().expect("a token").to_string();
    let field_of = format!("Authorization: Bearer {bearer}");
    let evil = "Origin: https://evil.example";
    assert_eq!(
        status(&ask(&mut world, "POST", "/transfer", &[&field_of, evil], "to=mallory&amount=1")),
        "200"
    );
    let cookie = format!("Cookie: sid={bearer}");
    let stranger = ask(&mut world, "GET", "/account", &[&cookie], "");
    assert_eq!(status(&stranger), "401", "here tokens do not come in cookies");
    assert_eq!(field(&stranger, "Www-Authenticate"), Some("Bearer realm=\"lab\""), "{stranger}");
    let rubbish = ask(&mut world, "GET", "/account", &["Authorization: Bearer x.y.z"], "");
    assert!(
        field(&rubbish, "Www-Authenticate")
            .is_some_and(|text| text.starts_with("Bearer error=\"invalid_token\"")),
        "{rubbish}"
    );
    let mut world = server(token("cookie"));
    let cookie = login(&mut world);
    assert_eq!(status(&ask(&mut world, "GET", "/account", &[&cookie], "")), "200");
    assert_eq!(status(&ask(&mut world, "POST", "/transfer", &[&cookie, evil], "to=mallory&amount=1")), "403");
}

#[test]
fn what_users_write_is_text_unless_the_table_says_otherwise() {
    for (escape, shown) in
        [(true, "&lt;script&gt;alert(1)&lt;/script&gt;"), (false, "<script>alert(1)</script>")]
    {
        let mut world = server(json!({ "escape": escape }));
        let search = ask(&mut world, "GET", "/search?q=%3Cscript%3Ealert(1)%3C/script%3E", &[], "");
        assert!(search.contains(shown), "{search}");
        ask(&mut world, "POST", "/comments", &[], "text=%3Cscript%3Ealert(1)%3C/script%3E");
        let comments = ask(&mut world, "GET", "/comments", &[], "");
        assert!(comments.contains(shown), "{comments}");
    }
}

#[test]
fn cors_names_the_origins_of_the_table_and_no_other() {
    let front = "Origin: https://front.example";
    let evil = "Origin: https://evil.example";
    let allow = "Access-Control-Allow-Origin";
    let rows = [
        (json!({ "origins": ["https://front.example"] }), front, Some("https://front.example")),
        (json!({ "origins": ["https://front.example"] }), evil, None),
        (json!({ "origins": ["*"] }), evil, Some("*")),
        (json!({ "reflect": true }), evil, Some("https://evil.example")),
    ];
    for (cors, origin, wanted) in rows {
        let mut world = server(json!({ "cors": cors }));
        for method in ["GET", "OPTIONS"] {
            let answer = ask(&mut world, method, "/account", &[origin], "");
            assert_eq!(field(&answer, allow), wanted, "{cors} {method}: {answer}");
            assert_eq!(field(&answer, "Vary"), Some("Origin"));
        }
    }
    let mut world = server(json!({}));
    assert_eq!(field(&ask(&mut world, "OPTIONS", "/account", &[front], ""), allow), None);
}

#[test]
fn one_address_has_only_as_many_connections_as_it_may() {
    let mut world = World::new(Duration::from_millis(1));
    world.serve(
        "http-server",
        &json!({ "connections_per_address": 3, "pages": { "/": { "body": "hello" } } }),
    );
    let request = b"GET / HTTP/1.1\r\nHost: server\r\nConnection: close\r\n\r\n".to_vec();
    let refused = world.client(async {
        let mut held = Vec::new();
        for _ in 0..3 {
            held.push(net::TcpStream::connect("server:80").await.unwrap());
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
        raw(request.clone()).await
    });
    assert_eq!(refused, "");
    let line = world.lines().pop().unwrap();
    assert_eq!(line, "[error] limiting connections, client: 192.0.2.1 has 3");
    // Those were closed: there is room again.
    assert!(world.client(raw(request)).starts_with("HTTP/1.1 200 OK"));
}

#[test]
fn a_preloaded_name_is_asked_by_https_without_a_packet_by_http() {
    let mut world = World::new(Duration::from_millis(1));
    world.serve("http-server", &json!({ "pages": { "/": { "body": "hello" } } }));
    let (status, lines) = world.command(&["browser", "--preload", "server", "http://server/"]);
    assert_eq!(status, 1, "nobody is at port 443");
    assert_eq!(lines[0], "GET http://server/  307 HSTS: on to https without a packet");
    assert!(world.lines().is_empty(), "the server saw nothing by http");
}

/// The places and messages of what is wrong with a table.
fn wrong(kind: &str, table: &Value) -> Vec<String> {
    let read = apps::kind(kind).expect("it is there").read;
    let problems = read(table.as_object().expect("a table"), &Env::default()).expect_err("it is wrong");
    problems.iter().map(|problem| format!("{}: {}", problem.path.join("."), problem.message)).collect()
}

#[test]
fn wrong_tables_are_refused_at_their_place() {
    let application = |rest: Value| {
        let mut table = json!({ "users": { "alice": "x" } });
        rest.as_object().expect("a table").iter().for_each(|(key, value)| table[key] = value.clone());
        json!({ "application": table })
    };
    let rows = [
        (application(json!({ "users": {} })), "application.users: 0 users: 1 to 1000"),
        (
            application(json!({ "balances": { "bob": 1 } })),
            "application.balances.bob: there is no user `bob`",
        ),
        (
            application(json!({ "login": "token" })),
            "application.login: a login by token needs the table `token`",
        ),
        (application(json!({ "token": { "secret": SECRET } })), "application.token: sessions need no token"),
        (
            application(json!({ "login": "token", "token": { "secret": "short" } })),
            "application.token.secret: a secret of 5 bytes can be guessed: HS256 wants 32",
        ),
        (application(json!({ "login": "token", "token": {} })), "application.token: HS256 needs a secret"),
        (
            application(json!({ "login": "token", "token": { "algorithm": "RS256" } })),
            "application.token: RS256 needs a key",
        ),
        (
            application(json!({ "login": "token", "token": { "algorithm": "RS256", "key": "x" } })),
            "application.token.key: there is no certificate `x`",
        ),
        (
            application(json!({ "login": "token", "token": { "algorithm": "RS256", "key": "ca" } })),
            "application.token.key: the key of `ca` is not RSA's",
        ),
        (
            application(json!({ "cookie": { "name": "a b" } })),
            "application.cookie.name: \"a b\" is no name of a cookie",
        ),
        (application(json!({ "cookie": { "path": "x" } })), "application.cookie.path: \"x\" is no path"),
        (
            application(json!({ "cors": { "origins": ["https://a.example/"] } })),
            "application.cors.origins.0: \"https://a.example/\" is no origin",
        ),
        (
            application(json!({ "cors": { "headers": ["a b"] } })),
            "application.cors.headers.0: \"a b\" is no header field",
        ),
        (json!({ "headers": { "a b": "c" } }), "headers.a b: a b: c is no header field"),
    ];
    for (table, wanted) in rows {
        assert_eq!(wrong("http-server", &table), [wanted], "{table}");
    }
    let rows = [
        (
            "http-flood",
            json!({ "to": "server", "kind": "idle", "connections": 1, "for": "1s" }),
            "to: \"server\" has no port",
        ),
        (
            "http-flood",
            json!({ "to": "server:80", "kind": "idle", "connections": 0, "for": "1s" }),
            "connections: 0 is not within 1 to 10000",
        ),
        ("honest-clients", json!({ "targets": [], "clients": 1 }), "targets: whom do they ask?"),
        (
            "honest-clients",
            json!({ "targets": [{ "label": "x", "url": "server" }], "clients": 1 }),
            "targets.0.url: \"server\" is no URL",
        ),
        ("cookie-thief", json!({ "account": "x" }), "account: \"x\" is no URL"),
        ("ssl-stripper", json!({ "names": {} }), "names: whose place does he take?"),
        (
            "token-forger",
            json!({ "url": "http://a/", "user": "a", "password": "b", "victim": "c", "key": "ca" }),
            "key: there is no certificate `ca` with an RSA key",
        ),
        ("tls-tunnel", json!({ "port": 1, "to": "bob" }), "to: this is no host with a port"),
    ];
    for (kind, table, wanted) in rows {
        let found = wrong(kind, &table);
        assert!(found.iter().any(|problem| problem == wanted), "{kind} {table}: {found:?}");
    }
}
