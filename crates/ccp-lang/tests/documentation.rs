//! Every program in the language's documentation compiles, without a warning and for libccp too.

use ccp_lang::{RegisterTable, compile, libccp};

#[test]
fn examples_compile() {
    let page = include_str!("../../../docs/language.md");
    let mut blocks = 0;
    for block in page.split("```ccp\n").skip(1) {
        let (source, _) = block.split_once("```").expect("the block ends");
        let compiled = match compile(source, &RegisterTable::well_known()) {
            Ok(compiled) => compiled,
            Err(errors) => panic!("{}", errors.render(source, "docs/language.md")),
        };
        let warnings = compiled.warnings.render(source, "docs/language.md");
        assert!(warnings.is_empty(), "{warnings}");
        libccp::lower(&compiled.program).expect("it fits libccp");
        blocks += 1;
    }
    assert!(blocks >= 3);
}

#[test]
fn the_message_shown_is_the_message_given() {
    let page = include_str!("../../../docs/language.md");
    let (_, shown) = page.split_once("```text\n").expect("there is one");
    let (shown, _) = shown.split_once("```").expect("it ends");
    let source = "(def (Report (volatile rtt +infinity)))\n\n(when true\n  (:= Report.rtt (min Report.rtt Flow.rtt_sample))\n  (report)\n)\n";
    let errors = compile(source, &RegisterTable::well_known()).expect_err("a mistake");
    assert_eq!(errors.render(source, "copa.ccp"), shown);
}

#[test]
fn every_known_name_is_documented() {
    let page = include_str!("../../../docs/language.md");
    let table = RegisterTable::well_known();
    for def in table.primitives().iter().chain(table.writables()) {
        assert!(page.contains(&format!("`{}`", def.name)), "{}", def.name);
    }
}

#[test]
fn limits_are_the_documented_ones() {
    let page = include_str!("../../../docs/language.md");
    for (limit, text) in [
        (ccp_lang::MAX_SOURCE, "1 MiB of text"),
        (ccp_lang::MAX_DEPTH, "brackets 128 deep"),
        (libccp::MAX_INSTRUCTIONS, "| 255 |"),
        (libccp::MAX_TEMPS, "| 16 |"),
        (libccp::MAX_REPORTS, "| 110 each |"),
    ] {
        assert!(page.contains(text), "{text}");
        let number: usize = text
            .split(|c: char| !c.is_ascii_digit())
            .find_map(|n| n.parse().ok())
            .expect("a number");
        assert!(number == limit || number << 20 == limit, "{text}: {limit}");
    }
}

#[test]
fn costs_are_the_documented_ones() {
    let page = include_str!("../../../docs/language.md");
    let (_, table) = page.split_once("## What it costs").expect("there is one");
    let (table, _) = table.split_once("\n## ").expect("it ends");
    let table = table.replace("\\|", "\u{a6}");
    let count = |statement: &str| {
        let source = format!(
            "(def (Report (x 1) (flag false)) (a 1) (b 2) (d 3))
             (when true {statement} (report))"
        );
        let compiled = match compile(&source, &RegisterTable::libccp()) {
            Ok(compiled) => compiled.program,
            Err(errors) => panic!("{}", errors.render(&source, "docs/language.md")),
        };
        let there = libccp::lower(&compiled).expect("it fits");
        let definitions = compiled.reports.len() + compiled.controls.len();
        let locals = usize::from(compiled.locals);
        let there = there.instructions.len() - definitions - locals;
        (compiled.len(), there)
    };
    let (ours, theirs) = count("");
    let mut rows = 0;
    let mut wrong = Vec::new();
    for line in table.lines().filter(|line| line.starts_with("| `")) {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let statement = cells[1].trim_matches('`').replace('\u{a6}', "|");
        let (here, there) = count(&statement);
        let counted = (here - ours, there - theirs);
        if (cells[2].parse(), cells[3].parse()) != (Ok(counted.0), Ok(counted.1)) {
            wrong.push(format!("{statement}: {counted:?}"));
        }
        rows += 1;
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(rows >= 20);
}
