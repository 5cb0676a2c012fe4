//! The pages of the application. Whether what users wrote is put into them as text or as markup is the application's choice, and the
//! whole difference between a page and an XSS hole.

use crate::browser::document::escaped;

/// How texts of users are put into pages.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pages {
    pub(super) escape: bool,
}

impl Pages {
    fn text(self, text: &str) -> String {
        if self.escape { escaped(text) } else { text.into() }
    }

    fn page(title: &str, body: &str) -> String {
        format!("<!doctype html>\n<title>{title}</title>\n<h1>{title}</h1>\n{body}")
    }

    pub(super) fn login(self) -> String {
        let form = "<form id=login method=post action=/login>\
                    <input name=user><input name=password type=password><button>Log in</button></form>\n";
        Pages::page("Login", form)
    }

    pub(super) fn transfer(self, user: &str, balance: u64, csrf: Option<&str>) -> String {
        let hidden = csrf.map_or(String::new(), |value| {
            format!("<input type=hidden name=csrf value=\"{}\">", escaped(value))
        });
        let body = format!(
            "<p>{} has {balance}</p>\n<form id=transfer method=post action=/transfer>{hidden}\
             <input name=to><input name=amount><button>Send</button></form>\n",
            escaped(user)
        );
        Pages::page("Transfer", &body)
    }

    pub(super) fn transferred(self, from: &str, to: &str, amount: u64, left: u64) -> String {
        let (from, to) = (escaped(from), escaped(to));
        Pages::page("Transfer", &format!("<p>{amount} from {from} to {to}; {from} has {left}</p>\n"))
    }

    pub(super) fn comments(self, all: &[(String, String)], csrf: Option<&str>) -> String {
        let hidden = csrf.map_or(String::new(), |value| {
            format!("<input type=hidden name=csrf value=\"{}\">", escaped(value))
        });
        let list: String = all
            .iter()
            .map(|(who, text)| format!("<p><b>{}</b> {}</p>\n", escaped(who), self.text(text)))
            .collect();
        let form = format!(
            "<form id=comment method=post action=/comments>{hidden}<textarea name=text></textarea><button>Say it</button></form>\n"
        );
        Pages::page("Comments", &format!("{list}{form}"))
    }

    pub(super) fn search(self, query: &str, found: &[(String, String)]) -> String {
        let list: String = found
            .iter()
            .map(|(who, text)| format!("<p><b>{}</b> {}</p>\n", escaped(who), self.text(text)))
            .collect();
        let body = format!("<p>You searched for {}: {} found</p>\n{list}", self.text(query), found.len());
        Pages::page("Search", &body)
    }
}
