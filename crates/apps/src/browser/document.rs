//! What a page asks for: its stylesheets, scripts, images, frames, links and forms, in the order of the text. HTML is read by
//! html5gum's tokenizer (WHATWG HTML §13.2.5); there is no tree, because nothing here needs one: a tag in the text is an
//! element, and a tag that was escaped is text.

use html5gum::{DefaultEmitter, Token, Tokenizer};
use url::Url;

/// An element, as far as it matters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Element {
    /// Its name in lower case.
    pub tag: String,
    /// Its attributes; names in lower case, the first of a name counts.
    pub attributes: Vec<(String, String)>,
    /// The text within `<script>`, `<style>`, `<title>` and `<textarea>`.
    pub text: String,
}

impl Element {
    /// An attribute's value.
    pub fn attribute(&self, name: &str) -> Option<&str> {
        self.attributes.iter().find(|(has, _)| has == name).map(|(_, value)| value.as_str())
    }

    /// Whether an attribute that is a list of words has this one.
    fn has_word(&self, name: &str, word: &str) -> bool {
        let words = self.attribute(name).unwrap_or_default();
        words.split_ascii_whitespace().any(|has| has.eq_ignore_ascii_case(word))
    }
}

/// What an object is for, which decides its priority and what policies say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Destination {
    /// The page.
    Document,
    /// A stylesheet.
    Style,
    /// A script.
    Script,
    /// A font.
    Font,
    /// What a script fetches.
    Fetch,
    /// An image.
    Image,
    /// A page within the page.
    Frame,
}

impl Destination {
    /// The name of the Fetch standard, which is also the value of `Sec-Fetch-Dest`.
    pub fn name(self) -> &'static str {
        match self {
            Destination::Document => "document",
            Destination::Style => "style",
            Destination::Script => "script",
            Destination::Font => "font",
            Destination::Fetch => "empty",
            Destination::Image => "image",
            Destination::Frame => "iframe",
        }
    }

    /// The CSP directive that decides.
    pub fn directive(self) -> &'static str {
        match self {
            Destination::Document | Destination::Frame => "frame-src",
            Destination::Style => "style-src-elem",
            Destination::Script => "script-src-elem",
            Destination::Font => "font-src",
            Destination::Fetch => "connect-src",
            Destination::Image => "img-src",
        }
    }

    /// `Accept` as Chromium sends it, but without formats that the page's author would have to know.
    pub fn accept(self) -> &'static str {
        match self {
            Destination::Document | Destination::Frame => "text/html,application/xhtml+xml,*/*;q=0.8",
            Destination::Style => "text/css,*/*;q=0.1",
            Destination::Image => "image/*,*/*;q=0.8",
            Destination::Script | Destination::Font | Destination::Fetch => "*/*",
        }
    }
}

/// An object that the page needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subresource {
    /// Where it is.
    pub url: Url,
    /// What it is.
    pub destination: Destination,
    /// The element's nonce.
    pub nonce: Option<String>,
    /// The element's `crossorigin`: `Some(true)` with credentials. Such an element uses CORS.
    pub cross_origin: Option<bool>,
}

/// Code in the page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Code {
    /// A `<script>` with its text and nonce.
    Inline(String, Option<String>),
    /// A `<script src>`: it runs when it is there; the number of its subresource.
    External(usize),
    /// An attribute such as `onload` that runs because the page was loaded.
    Handler(String),
    /// `onerror`: it runs when the subresource of this number, or one without a usable URL, fails.
    OnError(Option<usize>, String),
}

/// A form with what it would send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Form {
    /// Its `id` or `name`.
    pub id: Option<String>,
    /// Where it goes.
    pub action: Url,
    /// It is a POST.
    pub post: bool,
    /// Names and values of its fields.
    pub fields: Vec<(String, String)>,
}

impl Form {
    /// Its fields as `application/x-www-form-urlencoded`.
    pub fn encoded(&self) -> String {
        url::form_urlencoded::Serializer::new(String::new()).extend_pairs(&self.fields).finish()
    }
}

/// A page.
#[derive(Clone, Debug, Default)]
pub struct Document {
    /// Its title.
    pub title: String,
    /// What it needs.
    pub subresources: Vec<Subresource>,
    /// What it runs, in order.
    pub code: Vec<Code>,
    /// Its forms.
    pub forms: Vec<Form>,
    /// Its links.
    pub links: Vec<Url>,
    /// Policies in `<meta http-equiv>`.
    pub policies: Vec<String>,
    /// `<meta http-equiv="refresh">`: where it goes on to.
    pub refresh: Option<Url>,
}

/// Elements that are looked at.
const ELEMENTS: usize = 10_000;
/// Objects of one page.
const SUBRESOURCES: usize = 1_000;

/// The elements of a text.
pub fn elements(html: &str) -> Vec<Element> {
    let mut emitter = DefaultEmitter::<()>::default();
    // Within <script> and its like, tags are text.
    emitter.naively_switch_states(true);
    let mut all: Vec<Element> = Vec::new();
    let mut raw = false;
    for Ok(token) in Tokenizer::new_with_emitter(html, emitter) {
        match token {
            Token::StartTag(tag) if all.len() < ELEMENTS => {
                let name = text(&tag.name);
                raw = ["script", "style", "title", "textarea"].contains(&name.as_str());
                let attributes = tag.attributes.iter().map(|(name, value)| (text(name), text(&value.value)));
                all.push(Element { attributes: attributes.collect(), tag: name, text: String::new() });
            }
            Token::String(content) if raw => {
                if let Some(last) = all.last_mut() {
                    last.text.push_str(&text(&content.value));
                }
            }
            Token::EndTag(_) => raw = false,
            _ => {}
        }
    }
    all
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

impl Document {
    /// Reads a page that came from `url`.
    pub fn read(html: &str, url: &Url) -> Document {
        let elements = elements(html);
        let base =
            elements.iter().find(|e| e.tag == "base").and_then(|e| url.join(e.attribute("href")?).ok());
        let base = base.unwrap_or_else(|| url.clone());
        let mut document = Document::default();
        for element in &elements {
            document.take(element, url, &base);
        }
        document
    }

    fn take(&mut self, element: &Element, url: &Url, base: &Url) {
        let to = |name: &str| {
            element
                .attribute(name)
                .filter(|text| !text.trim().is_empty())
                .and_then(|text| base.join(text.trim()).ok())
        };
        let mut own = None;
        match element.tag.as_str() {
            "title" if self.title.is_empty() => self.title = element.text.trim().into(),
            "link" => {
                let destination = link_destination(element);
                own = destination.zip(to("href")).and_then(|(to, url)| self.need(element, url, to));
            }
            "script" => match to("src") {
                Some(url) if is_javascript(element) => {
                    own = self.need(element, url, Destination::Script);
                    self.code.extend(own.map(Code::External));
                }
                None if is_javascript(element) && element.attribute("src").is_none() => {
                    let nonce = element.attribute("nonce").map(str::to_string);
                    self.code.push(Code::Inline(element.text.clone(), nonce));
                }
                _ => {}
            },
            "img" => own = to("src").and_then(|url| self.need(element, url, Destination::Image)),
            "iframe" => own = to("src").and_then(|url| self.need(element, url, Destination::Frame)),
            "a" => self.links.extend(to("href").filter(|url| url.scheme() != "javascript")),
            "form" => self.forms.push(Form {
                id: element.attribute("id").or(element.attribute("name")).map(str::to_string),
                action: to("action").unwrap_or_else(|| url.clone()),
                post: element.attribute("method").is_some_and(|method| method.eq_ignore_ascii_case("post")),
                fields: Vec::new(),
            }),
            "input" | "textarea" => self.field(element),
            "meta" => self.meta(element, base),
            _ => {}
        }
        if let Some(code) = element.attribute("onerror") {
            self.code.push(Code::OnError(own, code.into()));
        }
        if let Some(code) = element
            .attribute("onload")
            .filter(|_| own.is_some() || ["body", "svg"].contains(&element.tag.as_str()))
        {
            self.code.push(Code::Handler(code.into()));
        }
    }

    fn need(&mut self, element: &Element, url: Url, destination: Destination) -> Option<usize> {
        if self.subresources.len() == SUBRESOURCES || !["http", "https"].contains(&url.scheme()) {
            return None;
        }
        let nonce = element.attribute("nonce").map(str::to_string);
        let cross_origin =
            element.attribute("crossorigin").map(|mode| mode.eq_ignore_ascii_case("use-credentials"));
        self.subresources.push(Subresource { url, destination, nonce, cross_origin });
        Some(self.subresources.len() - 1)
    }

    fn field(&mut self, element: &Element) {
        let kind = element.attribute("type").unwrap_or("text").to_ascii_lowercase();
        let ticked =
            !["checkbox", "radio"].contains(&kind.as_str()) || element.attribute("checked").is_some();
        let Some((form, name)) = self.forms.last_mut().zip(element.attribute("name")) else { return };
        if ticked && !["submit", "button", "image", "reset", "file"].contains(&kind.as_str()) {
            let value = element.attribute("value").unwrap_or(&element.text);
            form.fields.push((name.into(), value.into()));
        }
    }

    fn meta(&mut self, element: &Element, base: &Url) {
        let content = element.attribute("content").unwrap_or_default();
        match element.attribute("http-equiv").unwrap_or_default().to_ascii_lowercase().as_str() {
            "content-security-policy" => self.policies.push(content.into()),
            "refresh" => {
                let target = content.split_once(';').map(|(_, rest)| rest.trim());
                let target = target.and_then(|rest| {
                    rest.get(..4).filter(|key| key.eq_ignore_ascii_case("url=")).map(|_| &rest[4..])
                });
                self.refresh = target.and_then(|to| base.join(to.trim_matches(['"', '\''])).ok());
            }
            _ => {}
        }
    }
}

fn is_javascript(element: &Element) -> bool {
    let kind = element.attribute("type").unwrap_or_default().to_ascii_lowercase();
    ["", "module", "text/javascript", "application/javascript"].contains(&kind.as_str())
}

fn link_destination(element: &Element) -> Option<Destination> {
    if element.has_word("rel", "stylesheet") {
        return Some(Destination::Style);
    }
    if element.has_word("rel", "icon") {
        return Some(Destination::Image);
    }
    if !element.has_word("rel", "preload") {
        return None;
    }
    match element.attribute("as")? {
        "style" => Some(Destination::Style),
        "script" => Some(Destination::Script),
        "font" => Some(Destination::Font),
        "image" => Some(Destination::Image),
        _ => None,
    }
}

/// Text that is put into a page as text: what a server does against XSS (OWASP's five characters).
pub fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(html: &str) -> Document {
        Document::read(html, &Url::parse("https://shop.example/dir/page").expect("a URL"))
    }

    fn needs(html: &str) -> Vec<String> {
        let name = |s: Subresource| format!("{} {}", s.destination.name(), s.url);
        read(html).subresources.into_iter().map(name).collect()
    }

    #[test]
    fn objects_come_in_the_order_of_the_text() {
        let html = r#"<!doctype html><title> Shop </title><link rel="stylesheet" href="/s.css">
            <link rel=preload as=font href=//cdn.example/f.woff2 crossorigin><script src=a.js></script>
            <IMG SRC="../i.png?x=1&amp;y=2"><img src=""><img><iframe src="/f"></iframe><link rel=canonical href=/c>"#;
        let wanted = [
            "style https://shop.example/s.css",
            "font https://cdn.example/f.woff2",
            "script https://shop.example/dir/a.js",
            "image https://shop.example/i.png?x=1&y=2",
            "iframe https://shop.example/f",
        ];
        assert_eq!(needs(html), wanted);
        let document = read(html);
        assert_eq!(document.title, "Shop");
        assert_eq!(document.subresources[1].cross_origin, Some(false));
        assert_eq!(document.code, [Code::External(2)]);
    }

    #[test]
    fn base_moves_everything() {
        assert_eq!(
            needs("<base href='https://cdn.example/x/'><img src=a.png>"),
            ["image https://cdn.example/x/a.png"]
        );
    }

    #[test]
    fn comments_scripts_and_titles_hold_no_elements() {
        let html = "<!-- <img src=a> --><script>var x = '<img src=b>';</script><title><img src=c></title><textarea><img src=d></textarea>";
        assert!(needs(html).is_empty());
        assert_eq!(read(html).code, [Code::Inline("var x = '<img src=b>';".into(), None)]);
        assert_eq!(needs("<!-- --><img src=e>"), ["image https://shop.example/dir/e"]);
    }

    #[test]
    fn what_is_escaped_is_text() {
        let attacks = [
            "<script>steal()</script>",
            "<img src=x onerror=steal()>",
            "\"><script>steal()</script>",
            "<svg onload=steal()>",
            "</title><script>steal()</script>",
        ];
        for attack in attacks {
            let page = |text: &str| format!("<title>{text}</title><input value=\"{text}\"><p>{text}</p>");
            assert!(!read(&page(attack)).code.is_empty(), "{attack}");
            assert!(read(&page(&escaped(attack))).code.is_empty(), "{attack}");
        }
    }

    #[test]
    fn forms_have_what_they_would_send() {
        let html = "<form id=f action=/pay method=POST><input name=to value='a&amp;b'><input type=checkbox name=c>
            <input type=checkbox name=d value=1 checked><textarea name=t>x y</textarea><input type=submit name=go></form><form><input name=q></form>";
        let forms = read(html).forms;
        assert!(forms[0].post && !forms[1].post);
        assert_eq!(forms[0].action.as_str(), "https://shop.example/pay");
        assert_eq!(forms[0].encoded(), "to=a%26b&d=1&t=x+y");
        assert_eq!(forms[1].action.as_str(), "https://shop.example/dir/page");
    }

    #[test]
    fn handlers_wait_for_their_event() {
        let document = read(
            "<img src=x onerror='a()'><img onerror='b()' src='http://['><body onload='c()'><p onload='d()'>",
        );
        let wanted = [
            Code::OnError(Some(0), "a()".into()),
            Code::OnError(None, "b()".into()),
            Code::Handler("c()".into()),
        ];
        assert_eq!(document.code, wanted);
    }

    #[test]
    fn data_blocks_do_not_run() {
        let html =
            "<script type='application/json'>{}</script><script type='application/ld+json' src=x></script>";
        assert!(read(html).code.is_empty() && needs(html).is_empty());
    }

    #[test]
    fn a_meta_can_hold_a_policy_or_go_on() {
        let document = read(
            "<meta http-equiv=Content-Security-Policy content=\"default-src 'self'\"><meta http-equiv=refresh content='0; URL=/next'>",
        );
        assert_eq!(document.policies, ["default-src 'self'"]);
        assert_eq!(document.refresh.map(String::from).as_deref(), Some("https://shop.example/next"));
    }

    #[test]
    fn nothing_panics_on_tag_soup() {
        for html in [
            "<",
            "</",
            "<!",
            "<a",
            "<script",
            "<script>",
            "<form><input name",
            "\u{0}<\u{0}>",
            "<meta http-equiv=refresh content='0;é'>",
        ] {
            let _ = read(html);
        }
    }
}
