use super::*;

const NOW: SystemTime = SystemTime::UNIX_EPOCH;
const SUBRESOURCE: Context = Context { same_site: false, navigation: false, safe_method: true };
const LINK: Context = Context { same_site: false, navigation: true, safe_method: true };
const FORM_POST: Context = Context { same_site: false, navigation: true, safe_method: false };
const OWN: Context = Context { same_site: true, navigation: false, safe_method: false };

fn url(text: &str) -> Url {
    Url::parse(text).expect("a URL")
}

fn at(seconds: u64) -> SystemTime {
    NOW + Duration::from_secs(seconds)
}

/// What a browser with this cookie sends to another URL.
fn sends(line: &str, from: &str, to: &str, context: Context) -> Option<String> {
    let mut jar = CookieJar::default();
    jar.set(line, &url(from), Context::TYPED, NOW).expect("it is taken");
    jar.header(&url(to), context, at(1)).0
}

fn taken(line: &str, from: &str) -> Result<(), Refused> {
    CookieJar::default().set(line, &url(from), Context::TYPED, NOW)
}

#[test]
fn a_cookie_goes_where_domain_and_path_say() {
    let rows = [
        ("a=1", "http://shop.example/", "http://shop.example/x", true),
        ("a=1", "http://shop.example/", "http://www.shop.example/", false),
        ("a=1; Domain=shop.example", "http://www.shop.example/", "http://api.shop.example/", true),
        ("a=1; Domain=.shop.example", "http://www.shop.example/", "http://shop.example/", true),
        ("a=1; Domain=shop.example", "http://shop.example/", "http://badshop.example/", false),
        ("a=1", "http://shop.example:8080/", "http://shop.example:9090/", true),
        ("a=1; Path=/x", "http://shop.example/", "http://shop.example/x", true),
        ("a=1; Path=/x", "http://shop.example/", "http://shop.example/x/y", true),
        ("a=1; Path=/x", "http://shop.example/", "http://shop.example/xy", false),
        ("a=1", "http://shop.example/x/y", "http://shop.example/x/z", true),
        ("a=1", "http://shop.example/x/y", "http://shop.example/", false),
        ("a=1; Path=relative", "http://shop.example/x/y", "http://shop.example/", false),
        ("a=1; Secure", "https://shop.example/", "http://shop.example/", false),
        ("a=1; Secure", "http://localhost/", "http://localhost/", true),
        ("a=1", "https://shop.example/", "http://shop.example/", true),
        ("a=1; Domain=192.0.2.1", "http://192.0.2.1/", "http://192.0.2.1/", true),
    ];
    for (line, from, to, wanted) in rows {
        assert_eq!(sends(line, from, to, Context::TYPED).is_some(), wanted, "{line} from {from} to {to}");
    }
}

#[test]
fn same_site_decides_what_other_sites_can_make_travel() {
    let rows = [
        ("Strict", LINK, false),
        ("Strict", OWN, true),
        ("Lax", LINK, true),
        ("Lax", FORM_POST, false),
        ("Lax", SUBRESOURCE, false),
        ("None; Secure", SUBRESOURCE, true),
        ("None; Secure", FORM_POST, true),
        ("nonsense", FORM_POST, false),
    ];
    for (same_site, context, wanted) in rows {
        let sent =
            sends(&format!("a=1; SameSite={same_site}"), "https://s.example/", "https://s.example/", context);
        assert_eq!(sent.is_some(), wanted, "{same_site} {context:?}");
    }
}

#[test]
fn without_same_site_lax_is_the_rule_and_was_not_before_2020() {
    let mut old = CookieJar::before_lax_by_default();
    old.set("a=1", &url("https://s.example/"), Context::TYPED, NOW).expect("taken");
    assert!(old.header(&url("https://s.example/"), FORM_POST, NOW).0.is_some());
    assert_eq!(sends("a=1", "https://s.example/", "https://s.example/", FORM_POST), None);
}

#[test]
fn a_jar_says_why_a_cookie_stays() {
    let mut jar = CookieJar::default();
    for line in ["l=1; SameSite=Lax", "s=1; SameSite=Strict", "p=1; Path=/x", "n=1; SameSite=None; Secure"] {
        jar.set(line, &url("https://s.example/"), Context::TYPED, NOW).expect("taken");
    }
    let (sent, kept) = jar.header(&url("https://s.example/"), FORM_POST, NOW);
    assert_eq!(sent.as_deref(), Some("n=1"));
    let kept: Vec<_> = kept.into_iter().map(|(cookie, why)| (cookie.name.as_str(), why)).collect();
    assert_eq!(kept, [("l", Withheld::Lax), ("s", Withheld::Strict), ("p", Withheld::Path)]);
}

#[test]
fn a_wrong_cookie_is_refused_for_its_reason() {
    let long = format!("a={}", "x".repeat(MAX_PAIR));
    let rows: &[(&str, &str, Refused)] = &[
        ("a=1; Domain=example", "https://shop.example/", Refused::PublicSuffix),
        ("a=1; Domain=co.uk", "https://shop.co.uk/", Refused::PublicSuffix),
        ("a=1; Domain=other.example", "https://shop.example/", Refused::ForeignDomain),
        ("a=1; Domain=www.shop.example", "https://shop.example/", Refused::ForeignDomain),
        ("a=1; Domain=2.1", "http://192.0.2.1/", Refused::ForeignDomain),
        ("a=1; Secure", "http://shop.example/", Refused::SecureFromInsecure),
        ("a=1; SameSite=None", "https://shop.example/", Refused::NoneWithoutSecure),
        ("__Secure-a=1", "https://shop.example/", Refused::Prefix),
        ("__Host-a=1; Secure", "https://shop.example/", Refused::Prefix),
        ("__Host-a=1; Secure; Path=/; Domain=shop.example", "https://shop.example/", Refused::Prefix),
        ("__hOsT-a=1; Secure; Path=/x", "https://shop.example/", Refused::Prefix),
        ("=__Host-a=1", "https://shop.example/", Refused::Prefix),
        ("", "https://shop.example/", Refused::Malformed),
        ("=", "https://shop.example/", Refused::Malformed),
        (&long, "https://shop.example/", Refused::Malformed),
        ("a=1\u{1}", "https://shop.example/", Refused::ControlCharacter),
    ];
    for (line, from, wanted) in rows {
        assert_eq!(taken(line, from), Err(*wanted), "{line} from {from}");
    }
    assert_eq!(taken("__Host-a=1; Secure; Path=/", "https://shop.example/"), Ok(()));
}

#[test]
fn http_cannot_replace_a_secure_cookie() {
    let mut jar = CookieJar::default();
    jar.set("sid=1; Secure", &url("https://s.example/"), Context::TYPED, NOW).expect("taken");
    let over_http = jar.set("sid=evil", &url("http://s.example/"), Context::TYPED, NOW);
    assert_eq!(over_http, Err(Refused::WouldShadowSecure));
}

#[test]
fn scripts_neither_see_nor_set_http_only_cookies() {
    let mut jar = CookieJar::default();
    let page = url("https://s.example/");
    jar.set("sid=secret; HttpOnly", &page, Context::TYPED, NOW).expect("taken");
    jar.set("theme=dark", &page, Context::TYPED, NOW).expect("taken");
    assert_eq!(jar.script_view(&page, NOW), "theme=dark");
    assert_eq!(jar.set_by_script("sid=mine", &page, NOW), Err(Refused::HttpOnlyFromScript));
    assert_eq!(jar.set_by_script("x=1; HttpOnly", &page, NOW), Err(Refused::HttpOnlyFromScript));
    assert_eq!(jar.set_by_script("x=1", &page, NOW), Ok(()));
}

#[test]
fn max_age_wins_over_expires_and_zero_deletes() {
    let mut jar = CookieJar::default();
    let page = url("https://s.example/");
    let line = "a=1; Max-Age=10; Expires=Thu, 01 Jan 1970 00:00:01 GMT";
    jar.set(line, &page, Context::TYPED, NOW).expect("taken");
    assert!(jar.header(&page, Context::TYPED, at(9)).0.is_some());
    assert!(jar.header(&page, Context::TYPED, at(10)).0.is_none());
    jar.set("a=2; Max-Age=0", &page, Context::TYPED, at(5)).expect("taken");
    assert!(jar.cookies().is_empty());
    jar.set("a=3; Max-Age=99999999999999999999", &page, Context::TYPED, NOW).expect("taken");
    assert_eq!(jar.cookies()[0].expires, Some(NOW + MAX_AGE));
}

#[test]
fn longer_paths_come_first_and_then_older_cookies() {
    let mut jar = CookieJar::default();
    let page = url("https://s.example/x/y");
    for (n, line) in ["b=1; Path=/", "a=1; Path=/", "c=1; Path=/x"].iter().enumerate() {
        jar.set(line, &page, Context::TYPED, at(n as u64)).expect("taken");
    }
    assert_eq!(jar.header(&page, Context::TYPED, at(9)).0.as_deref(), Some("c=1; b=1; a=1"));
    // Setting it again keeps its age.
    jar.set("b=2; Path=/", &page, Context::TYPED, at(9)).expect("taken");
    assert_eq!(jar.header(&page, Context::TYPED, at(9)).0.as_deref(), Some("c=1; b=2; a=1"));
}

#[test]
fn an_answer_to_another_sites_request_sets_no_same_site_cookie() {
    let mut jar = CookieJar::default();
    let page = url("https://tracker.example/");
    assert_eq!(jar.set("a=1; SameSite=Lax", &page, SUBRESOURCE, NOW), Err(Refused::CrossSite));
    assert_eq!(jar.set("a=1; SameSite=None; Secure", &page, SUBRESOURCE, NOW), Ok(()));
}

#[test]
fn one_domain_does_not_fill_the_jar() {
    let mut jar = CookieJar::default();
    let page = url("https://s.example/");
    for n in 0..PER_DOMAIN {
        jar.set(&format!("c{n}=1"), &page, Context::TYPED, NOW).expect("taken");
    }
    assert_eq!(jar.set("more=1", &page, Context::TYPED, NOW), Err(Refused::Full));
}
