use hickory_proto::op::Message;

use super::*;
use crate::dns::message::{query, rcode, rdata, reply_to};

const EXAMPLE: &str = r#"
$TTL 300
@       IN SOA ns1 hostmaster ( 1 3600 900
                604800 60 )
        IN NS  ns1
ns1     IN A   198.51.100.1
www     IN A   192.0.2.80
        IN AAAA 2001:db8::80
alias   IN CNAME www
away    IN CNAME www.other.test.
*.wild  IN TXT "any"
a.b.c   IN A   192.0.2.9
mail    IN MX  10 www
child   IN NS  ns.child
child   IN NS  ns.elsewhere.test.
ns.child IN A  203.0.113.5
"#;

fn zone() -> Zone {
    Zone::parse(&Name::from_ascii("example.").unwrap(), EXAMPLE).unwrap()
}

/// `status flags; answers; authorities; additionals`.
fn ask(name: &str, kind: RecordType) -> String {
    let mut reply = reply_to(&query(1, Name::from_ascii(name).unwrap(), kind, false));
    answer(&[zone()], &mut reply);
    show(&reply)
}

fn show(reply: &Message) -> String {
    let section = |records: &[Record]| {
        let one = |r: &Record| format!("{} {} {} {}", r.name, r.ttl, r.record_type(), rdata(&r.data));
        records.iter().map(one).collect::<Vec<_>>().join(", ")
    };
    let aa = if reply.metadata.authoritative { " aa" } else { "" };
    let sections = [&reply.answers, &reply.authorities, &reply.additionals].map(|records| section(records));
    format!("{}{aa}; {}", rcode(reply.metadata.response_code), sections.join("; "))
}

#[test]
fn questions_are_answered_as_rfc_1034_says() {
    let soa = "example. 60 SOA ns1.example. hostmaster.example. 1 3600 900 604800 60";
    for (name, kind, expected) in [
        ("www.example.", RecordType::A, "NOERROR aa; www.example. 300 A 192.0.2.80; ; ".to_string()),
        ("WWW.example.", RecordType::A, "NOERROR aa; WWW.example. 300 A 192.0.2.80; ; ".to_string()),
        ("www.example.", RecordType::TXT, format!("NOERROR aa; ; {soa}; ")),
        ("nobody.example.", RecordType::A, format!("NXDOMAIN aa; ; {soa}; ")),
        // b.c exists because a.b.c does (RFC 4592 §2.2.2).
        ("b.c.example.", RecordType::A, format!("NOERROR aa; ; {soa}; ")),
        (
            "alias.example.",
            RecordType::A,
            "NOERROR aa; alias.example. 300 CNAME www.example., www.example. 300 A 192.0.2.80; ; ".to_string(),
        ),
        ("away.example.", RecordType::A, "NOERROR aa; away.example. 300 CNAME www.other.test.; ; ".to_string()),
        ("alias.example.", RecordType::CNAME, "NOERROR aa; alias.example. 300 CNAME www.example.; ; ".to_string()),
        ("x.y.wild.example.", RecordType::TXT, "NOERROR aa; x.y.wild.example. 300 TXT \"any\"; ; ".to_string()),
        ("x.wild.example.", RecordType::A, format!("NOERROR aa; ; {soa}; ")),
        (
            "mail.example.",
            RecordType::MX,
            "NOERROR aa; mail.example. 300 MX 10 www.example.; ; www.example. 300 A 192.0.2.80, www.example. 300 AAAA \
             2001:db8::80"
                .to_string(),
        ),
        (
            "deep.child.example.",
            RecordType::A,
            "NOERROR; ; child.example. 300 NS ns.child.example., child.example. 300 NS ns.elsewhere.test.; \
             ns.child.example. 300 A 203.0.113.5"
                .to_string(),
        ),
        ("www.foreign.test.", RecordType::A, "REFUSED; ; ; ".to_string()),
    ] {
        assert_eq!(ask(name, kind), expected, "{name} {kind}");
    }
}

#[test]
fn a_zone_that_does_not_parse_is_told_with_its_line() {
    let problem =
        |text: &str| Zone::parse(&Name::from_ascii("example.").unwrap(), text).unwrap_err().to_string();
    let good = "$TTL 1h\n@ SOA ns h ( 1 2\n 3 4 5 )\n@ NS ns\n";
    assert_eq!(
        problem(&format!("{good}www A 192.0.2.300\nftp A 192.0.2.1\n")),
        "line 5 of the zone: network address parse error: invalid IPv4 address syntax"
    );
    assert_eq!(
        problem(&format!("{good}www HOST 192.0.2.3\n")),
        "line 5 of the zone: record type string unknown: HOST"
    );
    assert_eq!(problem("www A 192.0.2.1\n"), "line 1 of the zone: record ttl not specified");
    assert_eq!(
        problem(&format!("{good}t TXT (\"a\"\n")),
        "line 5 of the zone: lexer error: unclosed list, missing ')'"
    );
    assert_eq!(
        problem(&format!("{good}$INCLUDE /etc/passwd\n")),
        "line 5 of the zone: $INCLUDE is not supported: write the records here"
    );
    assert_eq!(problem("$TTL 1\nwww A 192.0.2.1\n"), "the zone example. has no SOA record at its top");
    assert_eq!(problem("$TTL 1\n@ SOA ns h 1 2 3 4 5\n"), "the zone example. has no NS records at its top");
    assert_eq!(
        problem(&format!("{good}www A 192.0.2.1\nwww CNAME ns\n")),
        "www.example.: CNAME and other data"
    );
    assert_eq!(problem(&format!("{good}www.other. A 192.0.2.1\n")), "www.other. is not in the zone example.");
}

#[test]
fn a_ring_of_cnames_ends() {
    let text = "$TTL 1\n@ SOA ns h 1 2 3 4 5\n@ NS ns\na CNAME b\nb CNAME a\n";
    let zone = Zone::parse(&Name::from_ascii("example.").unwrap(), text).unwrap();
    let mut reply = reply_to(&query(1, Name::from_ascii("a.example.").unwrap(), RecordType::A, false));
    answer(&[zone], &mut reply);
    assert_eq!(reply.answers.len(), CNAMES);
}
