use super::*;

/// Monday, 15 January 2024, noon.
const NOON: u64 = 1_705_320_000;

fn at(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(NOON + seconds)
}

fn headers(lines: &[(&str, &str)]) -> HeaderMap {
    let mut map = HeaderMap::new();
    for (name, value) in lines {
        let name = HeaderName::from_bytes(name.as_bytes()).expect("a name");
        map.append(name, HeaderValue::from_str(value).expect("a value"));
    }
    map
}

struct Bench {
    cache: Cache<Vec<u8>>,
    url: Url,
}

impl Bench {
    fn new(kind: Kind) -> Bench {
        Bench { cache: Cache::new(kind, 1 << 20), url: Url::parse("https://a.example/x").expect("a URL") }
    }

    fn store_for(
        &mut self,
        request: &[(&str, &str)],
        status: u16,
        answer: &[(&str, &str)],
    ) -> Result<Freshness, NotStored> {
        let (request, answer) = (headers(request), headers(answer));
        let asked = Asked { method: &Method::GET, url: &self.url, headers: &request };
        let status = StatusCode::from_u16(status).expect("a status");
        let answer = Answer { status, headers: &answer, body: b"body".to_vec(), times: (at(0), at(0)) };
        self.cache.store("p", asked, answer)
    }

    fn store(&mut self, answer: &[(&str, &str)]) -> Result<Freshness, NotStored> {
        self.store_for(&[], 200, answer)
    }

    fn find_with(&mut self, request: &[(&str, &str)], mode: Mode, seconds: u64) -> Found<Vec<u8>> {
        let request = headers(request);
        let asked = Asked { method: &Method::GET, url: &self.url, headers: &request };
        self.cache.find("p", asked, mode, at(seconds))
    }

    /// One letter of what is found.
    fn find(&mut self, seconds: u64) -> char {
        letter(&self.find_with(&[], Mode::Default, seconds))
    }
}

fn letter(found: &Found<Vec<u8>>) -> char {
    match found {
        Found::Miss => 'm',
        Found::Fresh(..) => 'f',
        Found::Stale(..) => 's',
        Found::Validate(..) => 'v',
    }
}

const DATE_NOON: (&str, &str) = ("date", "Mon, 15 Jan 2024 12:00:00 GMT");
const TAG: (&str, &str) = ("etag", "\"1\"");

#[test]
fn lifetimes_come_from_the_first_that_says_one() {
    let expires = ("expires", "Mon, 15 Jan 2024 12:00:30 GMT");
    let modified = ("last-modified", "Mon, 15 Jan 2024 11:00:00 GMT");
    let secs = Duration::from_secs;
    let rows: &[(&[(&str, &str)], Freshness)] = &[
        (&[DATE_NOON, ("cache-control", "max-age=60"), expires], Freshness::MaxAge(secs(60))),
        (&[DATE_NOON, ("cache-control", "max-age=60, s-maxage=5")], Freshness::MaxAge(secs(60))),
        (&[DATE_NOON, ("cache-control", "Max-Age=\"60\"")], Freshness::MaxAge(secs(60))),
        (&[DATE_NOON, ("cache-control", "max-age=abc")], Freshness::MaxAge(secs(0))),
        (&[DATE_NOON, ("cache-control", "max-age=5, max-age=60")], Freshness::MaxAge(secs(5))),
        (&[DATE_NOON, ("cache-control", "max-age=99999999999999999999")], Freshness::MaxAge(secs(1 << 31))),
        (&[DATE_NOON, expires, modified], Freshness::Expires(secs(30))),
        (&[DATE_NOON, ("expires", "0")], Freshness::Expires(secs(0))),
        (&[DATE_NOON, modified], Freshness::Heuristic(secs(360))),
        (&[DATE_NOON, TAG], Freshness::None),
    ];
    for (lines, wanted) in rows {
        assert_eq!(Bench::new(Kind::Private).store(lines), Ok(*wanted), "{lines:?}");
    }
    let mut shared = Bench::new(Kind::Shared);
    assert_eq!(shared.store(rows[1].0), Ok(Freshness::MaxAge(secs(5))));
}

#[test]
fn what_may_not_be_kept_is_not_kept() {
    use Kind::{Private, Shared};
    type Row<'a> = (Kind, &'a [(&'a str, &'a str)], u16, &'a [(&'a str, &'a str)], Result<(), NotStored>);
    let rows: &[Row<'_>] = &[
        (Private, &[], 200, &[("cache-control", "no-store, max-age=60")], Err(NotStored::NoStore)),
        (
            Private,
            &[("cache-control", "no-store")],
            200,
            &[("cache-control", "max-age=60")],
            Err(NotStored::NoStore),
        ),
        (Shared, &[], 200, &[("cache-control", "private, max-age=60")], Err(NotStored::Private)),
        (Private, &[], 200, &[("cache-control", "private, max-age=60")], Ok(())),
        (
            Shared,
            &[("authorization", "x")],
            200,
            &[("cache-control", "max-age=60")],
            Err(NotStored::Authorization),
        ),
        (Shared, &[("authorization", "x")], 200, &[("cache-control", "public, max-age=60")], Ok(())),
        (Shared, &[("authorization", "x")], 200, &[("cache-control", "s-maxage=60")], Ok(())),
        (Private, &[], 200, &[("cache-control", "max-age=60"), ("vary", "*")], Err(NotStored::VaryAny)),
        (Private, &[], 206, &[("cache-control", "max-age=60")], Err(NotStored::Status)),
        (Private, &[], 200, &[], Err(NotStored::NoLifetime)),
        (
            Private,
            &[],
            302,
            &[("last-modified", "Mon, 15 Jan 2024 11:00:00 GMT")],
            Err(NotStored::NoLifetime),
        ),
        (Private, &[], 302, &[("cache-control", "max-age=60")], Ok(())),
        (Private, &[], 404, &[("last-modified", "Mon, 15 Jan 2024 11:00:00 GMT")], Ok(())),
    ];
    for (kind, request, status, answer, wanted) in rows {
        let stored = Bench::new(*kind).store_for(request, *status, answer).map(drop);
        assert_eq!(stored, *wanted, "{kind:?} {request:?} {status} {answer:?}");
    }
}

#[test]
fn fresh_until_its_age_is_its_lifetime_and_then_validated() {
    let mut bench = Bench::new(Kind::Private);
    bench.store(&[DATE_NOON, TAG, ("cache-control", "max-age=60")]).expect("stored");
    let seen: String = [0, 59, 60, 600].map(|s| bench.find(s)).iter().collect();
    assert_eq!(seen, "ffvv");
}

#[test]
fn without_a_validator_a_stale_answer_is_a_miss() {
    let mut bench = Bench::new(Kind::Private);
    bench.store(&[("cache-control", "max-age=60")]).expect("stored");
    assert_eq!([bench.find(59), bench.find(60)], ['f', 'm']);
}

#[test]
fn age_counts_what_the_answer_had_behind_it() {
    let mut bench = Bench::new(Kind::Private);
    bench.store(&[DATE_NOON, TAG, ("age", "50"), ("cache-control", "max-age=60")]).expect("stored");
    assert_eq!([bench.find(9), bench.find(10)], ['f', 'v'], "Age: 50");
    // A Date in the past without Age: the clocks say that it is old.
    let mut bench = Bench::new(Kind::Private);
    let date = ("date", "Mon, 15 Jan 2024 11:59:20 GMT");
    bench.store(&[date, TAG, ("cache-control", "max-age=60")]).expect("stored");
    assert_eq!([bench.find(19), bench.find(20)], ['f', 'v'], "40 s under way");
}

#[test]
fn the_time_of_the_request_counts_as_age() {
    let mut bench = Bench::new(Kind::Private);
    let (request, answer) = (HeaderMap::new(), headers(&[TAG, ("cache-control", "max-age=60")]));
    let asked = Asked { method: &Method::GET, url: &bench.url, headers: &request };
    let answer =
        Answer { status: StatusCode::OK, headers: &answer, body: Vec::new(), times: (at(0), at(10)) };
    bench.cache.store("p", asked, answer).expect("stored");
    assert_eq!([bench.find(59), bench.find(60)], ['f', 'v'], "RFC 9111 §4.2.3 response_delay");
}

#[test]
fn no_cache_is_kept_and_always_asked() {
    let mut bench = Bench::new(Kind::Private);
    bench.store(&[TAG, ("cache-control", "no-cache")]).expect("stored");
    let Found::Validate(_, validators) = bench.find_with(&[], Mode::Default, 0) else {
        panic!("it must be asked")
    };
    assert_eq!(validators, [(IF_NONE_MATCH, HeaderValue::from_static("\"1\""))]);
}

#[test]
fn requests_have_wishes_too() {
    let mut bench = Bench::new(Kind::Private);
    bench.store(&[DATE_NOON, TAG, ("cache-control", "max-age=60")]).expect("stored");
    let rows = [
        ("no-cache", 'v'),
        ("no-store", 'm'),
        ("max-age=10", 'f'),
        ("max-age=5", 'v'),
        ("min-fresh=49", 'f'),
        ("min-fresh=50", 'v'),
    ];
    for (wish, wanted) in rows {
        let found = bench.find_with(&[("cache-control", wish)], Mode::Default, 10);
        assert_eq!(letter(&found), wanted, "{wish}");
    }
    assert_eq!(letter(&bench.find_with(&[("pragma", "no-cache")], Mode::Default, 10)), 'v');
    assert_eq!(letter(&bench.find_with(&[], Mode::Validate, 10)), 'v');
    assert_eq!(letter(&bench.find_with(&[], Mode::Reload, 10)), 'm');
    assert_eq!(letter(&bench.find_with(&[("range", "bytes=0-1")], Mode::Default, 10)), 'm');
}

#[test]
fn vary_keeps_variants_apart() {
    let mut bench = Bench::new(Kind::Private);
    let answer = [("cache-control", "max-age=60"), ("vary", "Accept-Encoding"), TAG];
    bench.store_for(&[("accept-encoding", "br")], 200, &answer).expect("stored");
    let find = |bench: &mut Bench, coding: &str| {
        letter(&bench.find_with(&[("accept-encoding", coding)], Mode::Default, 1))
    };
    assert_eq!([find(&mut bench, "br"), find(&mut bench, "gzip"), bench.find(1)], ['f', 'm', 'm']);
    bench.store_for(&[("accept-encoding", "gzip")], 200, &answer).expect("stored");
    assert_eq!([find(&mut bench, "br"), find(&mut bench, "gzip")], ['f', 'f']);
}

#[test]
fn a_304_makes_it_fresh_again_with_its_own_fields() {
    let mut bench = Bench::new(Kind::Private);
    bench
        .store(&[DATE_NOON, TAG, ("cache-control", "max-age=60"), ("x", "old"), ("content-length", "4")])
        .expect("stored");
    assert_eq!(bench.find(100), 'v');
    let renewed = headers(&[
        ("date", "Mon, 15 Jan 2024 12:01:40 GMT"),
        ("cache-control", "max-age=30"),
        ("x", "new"),
        ("content-length", "0"),
    ]);
    let request = HeaderMap::new();
    let asked = Asked { method: &Method::GET, url: &bench.url.clone(), headers: &request };
    let stored = bench.cache.freshen("p", asked, &renewed, (at(100), at(100))).expect("it is there");
    assert_eq!(
        (&stored.headers["x"], &stored.headers["content-length"]),
        (&HeaderValue::from_static("new"), &HeaderValue::from_static("4"))
    );
    assert_eq!(stored.body, b"body");
    assert_eq!([bench.find(129), bench.find(130)], ['f', 'v']);
}

#[test]
fn stale_while_revalidate_answers_at_once() {
    let mut bench = Bench::new(Kind::Private);
    bench
        .store(&[DATE_NOON, TAG, ("cache-control", "max-age=60, stale-while-revalidate=30")])
        .expect("stored");
    let seen: String = [59, 60, 89, 90].map(|s| bench.find(s)).iter().collect();
    assert_eq!(seen, "fssv");
    let mut strict = Bench::new(Kind::Private);
    strict
        .store(&[DATE_NOON, TAG, ("cache-control", "max-age=60, stale-while-revalidate=30, must-revalidate")])
        .expect("stored");
    assert_eq!(strict.find(60), 'v');
}

#[test]
fn a_write_makes_the_url_unknown_unless_it_failed() {
    for (method, status, wanted) in [
        (Method::POST, 200, 'm'),
        (Method::POST, 500, 'f'),
        (Method::HEAD, 200, 'f'),
        (Method::DELETE, 303, 'm'),
    ] {
        let mut bench = Bench::new(Kind::Private);
        bench.store(&[("cache-control", "max-age=60")]).expect("stored");
        let status = StatusCode::from_u16(status).expect("a status");
        bench.cache.invalidate("p", &method, &bench.url.clone(), status);
        assert_eq!(bench.find(1), wanted, "{method} {status}");
    }
}

#[test]
fn partitions_do_not_see_each_other_and_fragments_do_not_matter() {
    let mut bench = Bench::new(Kind::Private);
    bench.store(&[("cache-control", "max-age=60")]).expect("stored");
    let request = HeaderMap::new();
    let asked = Asked { method: &Method::GET, url: &bench.url.clone(), headers: &request };
    assert_eq!(letter(&bench.cache.find("other", asked, Mode::Default, at(1))), 'm');
    bench.url.set_fragment(Some("part"));
    assert_eq!(bench.find(1), 'f');
}

#[test]
fn the_least_recently_used_goes_first() {
    let mut bench = Bench::new(Kind::Private);
    bench.cache = Cache::new(Kind::Private, 10);
    let urls: Vec<Url> =
        (0..3).map(|n| Url::parse(&format!("https://a.example/{n}")).expect("a URL")).collect();
    for (n, url) in urls.iter().enumerate() {
        bench.url = url.clone();
        bench.store(&[("cache-control", "max-age=60")]).expect("4 of 10 bytes");
        if n == 1 {
            bench.url = urls[0].clone();
            assert_eq!(bench.find(1), 'f', "used again");
        }
    }
    let kept: String = urls
        .iter()
        .map(|url| {
            bench.url = url.clone();
            bench.find(1)
        })
        .collect();
    assert_eq!(kept, "fmf");
}
