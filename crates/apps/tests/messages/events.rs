//! One stream of events, heard in each way.

use std::time::Duration;

use serde_json::json;

use crate::problems;
use crate::world::World;

fn server() -> World {
    let mut world = World::new(Duration::from_millis(10));
    let page = |handler: &str| json!({ "handler": handler, "events": 6 });
    let mut short = page("events");
    short["events_at_once"] = json!(2);
    short["retry"] = json!("500ms");
    let pages = json!({
        "/poll": page("poll"), "/long-poll": page("long-poll"), "/events": page("events"), "/socket": page("websocket"),
        "/short": short, "/page": { "body": "none" },
    });
    world.serve("http-server", &json!({ "pages": pages, "access_log": "off" }));
    world
}

#[test]
fn each_way_hears_every_event_once_and_is_as_late_as_it_must_be() {
    let ways = json!([
        { "by": "polling", "url": "http://server/poll", "every": "2s", "events": 6 },
        { "by": "long-polling", "url": "http://server/long-poll", "events": 6 },
        { "by": "sse", "url": "http://server/events", "events": 6 },
        { "by": "websocket", "url": "ws://server/socket", "events": 6 },
    ]);
    let (status, lines) = server().app("event-comparison", &json!({ "ways": ways }));
    assert_eq!(status, 0, "{lines:?}");
    let row = |n: usize| lines[n][20..].split_whitespace().map(str::to_string).collect::<Vec<_>>();
    assert_eq!(row(1)[..2], ["6", "4"], "asked at 0, 2, 4 and 6 s: {lines:?}");
    assert_eq!(row(2)[..6], ["6", "6", "10.0", "ms", "10.0", "ms"], "{lines:?}");
    assert_eq!(row(3)[..6], ["6", "1", "10.0", "ms", "10.0", "ms"], "{lines:?}");
    assert_eq!(row(4)[..6], ["6", "1", "10.0", "ms", "10.0", "ms"], "{lines:?}");
    let down = |n: usize| row(n)[7].parse::<u32>().unwrap();
    assert!(down(2) > down(3) && down(3) > down(4), "{lines:?}");
}

#[test]
fn a_stream_that_ends_is_asked_for_again_behind_the_last_event() {
    let table = json!({ "by": "sse", "url": "http://server/short", "events": 6 });
    let (status, lines) = server().app("event-listener", &table);
    assert_eq!(status, 0, "{lines:?}");
    assert_eq!(lines[0], "the stream ended; again in 500.0 ms, from 2");
    assert_eq!(lines[1], "the stream ended; again in 500.0 ms, from 4");
    assert!(lines[2].starts_with("server-sent events: 6 events by 3 requests"), "{lines:?}");
}

#[test]
fn the_end_of_all_events_is_a_204_and_a_page_is_no_stream() {
    // More than there are: asked again behind the sixth, the server says that it is over.
    let table = json!({ "by": "sse", "url": "http://server/short", "events": 7 });
    let (status, lines) = server().app("event-listener", &table);
    assert_eq!(status, 0, "{lines:?}");
    assert!(lines[3].starts_with("server-sent events: 6 events by 4 requests"), "{lines:?}");
    let table = json!({ "by": "sse", "url": "http://server/page" });
    let (status, lines) = server().app("event-listener", &table);
    assert_eq!((status, lines[0].as_str()), (1, "event-listener: no stream of events: 200 text/html"));
}

#[test]
fn wrong_tables_are_refused_at_their_place_with_a_hint() {
    for (table, path) in [
        (json!({ "by": "sse", "url": "ws://server/" }), "url"),
        (json!({ "by": "websocket", "url": "http://server/" }), "url"),
        (json!({ "by": "polling", "url": "http://server/", "every": "0s" }), "every"),
    ] {
        let found = problems("event-listener", &table);
        assert!(found[0].0 == path && !found[0].1.is_empty(), "{table}: {found:?}");
        let found = problems("event-comparison", &json!({ "ways": [table] }));
        assert_eq!(found[0].0, format!("ways.0.{path}"));
    }
}
