//! `docs/benchmarks.md`: people's text with tables between markers that are rewritten.

use anyhow::{Context as _, Result, bail};

/// Puts `content` between the markers of `section`.
pub(crate) fn replace(document: &str, section: &str, content: &str) -> Result<String> {
    let begin = format!("<!-- measured: {section} -->");
    let end = format!("<!-- end: {section} -->");
    let [from, to] = [&begin, &end].map(|marker| {
        let mut places = document.match_indices(marker.as_str());
        let place = places.next().map(|(at, _)| at);
        place.filter(|_| places.next().is_none())
    });
    let from = from.with_context(|| format!("the document has not one line `{begin}`"))?;
    let to = to.with_context(|| format!("the document has not one line `{end}`"))?;
    let from = from + begin.len();
    if to < from {
        bail!("`{end}` stands before `{begin}`");
    }
    let (head, _) = document.split_at(from);
    let (_, tail) = document.split_at(to);
    Ok(format!("{head}\n\n{}\n\n{tail}", content.trim()))
}

#[cfg(test)]
mod tests {
    use super::replace;
    use crate::{SECTIONS, Suite};

    const DOCUMENT: &str = "a\n<!-- measured: x -->\nold\n<!-- end: x -->\nb\n";

    #[test]
    fn only_what_is_between_the_markers_changes() {
        let new = replace(DOCUMENT, "x", "\nnew\n").expect("the markers are there");
        assert_eq!(
            new,
            "a\n<!-- measured: x -->\n\nnew\n\n<!-- end: x -->\nb\n"
        );
        assert_eq!(replace(&new, "x", "new").expect("still there"), new);
    }

    #[test]
    fn markers_that_are_not_there_once_are_told() {
        for document in [
            "",
            "<!-- measured: x -->",
            "<!-- end: x --><!-- measured: x -->",
            &format!("{DOCUMENT}{DOCUMENT}"),
        ] {
            assert!(replace(document, "x", "new").is_err(), "{document}");
        }
    }

    #[test]
    fn the_document_has_all_markers() {
        let mut document = include_str!("../../docs/benchmarks.md").to_owned();
        let machines = [Suite::Plane, Suite::Kernel].map(Suite::machine);
        for section in SECTIONS.iter().map(|s| s.name).chain(machines) {
            document = replace(&document, section, "x").expect(section);
        }
    }
}
