//! What any bytes must not break in a scenario file and in a fault's text. Shared by the fuzz targets and by the
//! test that replays their corpus.

use scenario::Overrides;

/// A file is planned or refused, every complaint with its place.
pub(crate) fn scenario_file(bytes: &[u8]) {
    let Ok(text) = core::str::from_utf8(bytes) else { return };
    let found = match scenario::file::parse(text, "fuzz.toml") {
        Ok(file) => match scenario::plan(&file, &Overrides::default()) {
            Ok(_) => return,
            Err(found) => found,
        },
        Err(found) => found,
    };
    assert!(!found.is_empty(), "refused without a word: {text:?}");
    for d in found {
        assert!(!d.to_string().is_empty());
        if let Some(span) = &d.span {
            assert!(
                span.start <= span.end && span.end <= text.len(),
                "{span:?} is outside of the file: {text:?}"
            );
        }
    }
}

/// A fault's text is understood or refused.
pub(crate) fn fault_text(bytes: &[u8]) {
    let Ok(text) = core::str::from_utf8(bytes) else { return };
    if let Err(e) = sim::fault::FaultSpec::parse(text) {
        assert!(!e.to_string().is_empty());
    }
}
