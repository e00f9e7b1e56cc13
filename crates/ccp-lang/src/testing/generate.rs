//! Random well-typed programs as text, with every construct of the language.

use ccp_program::testing::{Rng, value};
use ccp_program::{RegisterDef, RegisterTable, Type};

/// A program that compiles for datapaths with the registers of `table`. Everything follows from
/// `rng`. Most run without a fault most of the time, some seldom do.
pub fn program(rng: &mut Rng, table: &RegisterTable) -> String {
    let wild = rng.pick(&[0, 0, 5, 30]);
    let narrow = table.primitives().len() == RegisterTable::libccp().primitives().len();
    let mut maker = Maker {
        rng,
        wild,
        narrow,
        lasting: Names {
            numbers: names(table.writables(), Type::Num)
                .into_iter()
                .chain(words("Micros"))
                .collect(),
            booleans: Vec::new(),
        },
        measured: Names {
            numbers: names(table.primitives(), Type::Num),
            booleans: names(table.primitives(), Type::Bool),
        },
        locals: Names {
            numbers: words("g h i.j"),
            booleans: words("p q"),
        },
        effects: true,
    };
    let def = maker.def();
    let clauses = 1 + maker.rng.below(4);
    let mut text: Vec<String> = (0..clauses).map(|_| maker.clause()).collect();
    text.insert(0, def);
    // Locals exist by being assigned to, and this says of which type they are.
    text.push("(when true (report) (:= g 1) (:= h 1) (:= i.j 1) (:= p true) (:= q true))".into());
    let mut text = text.join("\n");
    if maker.rng.percent(10) {
        text = format!("# A program.\n{text}\n# Its end.");
    }
    text
}

fn names(defs: &[RegisterDef], ty: Type) -> Vec<String> {
    let defs = defs.iter().filter(|def| def.ty == ty);
    defs.map(|def| def.name.to_string()).collect()
}

fn words(text: &str) -> Vec<String> {
    text.split(' ').map(str::to_owned).collect()
}

/// Names by their types.
struct Names {
    numbers: Vec<String>,
    booleans: Vec<String>,
}

impl Names {
    fn of(&self, boolean: bool) -> &[String] {
        if boolean {
            &self.booleans
        } else {
            &self.numbers
        }
    }
}

struct Maker<'r> {
    rng: &'r mut Rng,
    /// In a hundred operations that may fault, how many do nothing about it.
    wild: usize,
    /// For the C library: what it computes as it should.
    narrow: bool,
    /// What can be assigned to, but for locals.
    lasting: Names,
    measured: Names,
    locals: Names,
    /// Whether an expression may assign, and keep time.
    effects: bool,
}

impl Maker<'_> {
    fn def(&mut self) -> String {
        let (mut block, mut plain) = (String::new(), String::new());
        for (place, name) in ["a", "b", "c.d", "flag", "x_1"].into_iter().enumerate() {
            if place > 0 && self.rng.percent(30) {
                continue;
            }
            let boolean = name == "flag";
            if self.rng.percent(15) {
                let full = format!("Report.{name}");
                plain += &self.decl(&full, boolean);
            } else {
                block += &self.decl(name, boolean);
            }
            self.declared(format!("Report.{name}"), boolean);
        }
        for name in ["d", "e", "on", "Control.f"] {
            if self.rng.percent(40) {
                continue;
            }
            let boolean = name == "on";
            plain += &self.decl(name, boolean);
            self.declared(name.to_owned(), boolean);
        }
        if !block.is_empty() {
            block = format!(" (Report{block})");
        }
        match self.rng.percent(50) {
            true => format!("(def{block}{plain})"),
            false => format!("(def{plain}{block})"),
        }
    }

    fn decl(&mut self, name: &str, boolean: bool) -> String {
        let volatile = if self.rng.percent(40) {
            "volatile "
        } else {
            ""
        };
        let default = match boolean {
            true => self.one("true false"),
            // The C library takes no larger ones.
            false if self.narrow => self.one("0 1 5 1448 10ms"),
            false => self.literal(),
        };
        format!(" ({volatile}{name} {default})")
    }

    fn declared(&mut self, name: String, boolean: bool) {
        match boolean {
            true => self.lasting.booleans.push(name),
            false => self.lasting.numbers.push(name),
        }
    }

    fn clause(&mut self) -> String {
        self.effects = false;
        let condition = match self.rng.below(10) {
            0 | 1 => "true".to_owned(),
            2 | 3 => self.number(2),
            _ => self.boolean(3),
        };
        self.effects = true;
        let statements = 1 + self.rng.below(4);
        let mut body = self.statements(statements, 2);
        if self.rng.percent(60) {
            body += " (fallthrough)";
        }
        format!("(when {condition} {body})")
    }

    fn statements(&mut self, count: usize, depth: usize) -> String {
        let all: Vec<String> = (0..count).map(|_| self.statement(depth)).collect();
        let separator = if self.rng.percent(10) {
            "\n# …\n"
        } else {
            " "
        };
        all.join(separator)
    }

    fn statement(&mut self, depth: usize) -> String {
        match self.rng.below(20) {
            0..=6 => self.assign(3),
            7 | 8 => {
                let target = self.target(false);
                let source = self.source(2);
                format!("({} {target} {source})", self.one(":= bind"))
            }
            9 | 10 => {
                let (mut add, mut start) = (self.number(1), self.rng.pick(&["+", "add", "max"]));
                if self.rng.percent(50) {
                    (add, start) = (self.name(false), "max");
                }
                let target = self.target(false);
                format!("(:= {target} ({start} {target} {add}))")
            }
            11 => "(report)".to_owned(),
            12 => "(fallthrough)".to_owned(),
            13 => "(reset)".to_owned(),
            14 => match self.rng.percent(50) {
                true => self.number(2),
                false => self.boolean(2),
            },
            _ if depth == 0 => self.assign(2),
            _ => {
                let word = self.one("if !if");
                let condition = match self.rng.percent(25) {
                    true => self.number(2),
                    false => self.boolean(2),
                };
                let count = 1 + self.rng.below(3);
                let body = self.statements(count, depth - 1);
                let mut otherwise = String::new();
                if self.rng.percent(40) {
                    let count = 1 + self.rng.below(2);
                    otherwise = format!(" (else {})", self.statements(count, depth - 1));
                }
                format!("({word} {condition} {body}{otherwise})")
            }
        }
    }

    /// What is assigned, where `ewma` and an `if` with one value may stand.
    fn source(&mut self, depth: usize) -> String {
        match self.rng.below(3) {
            0 | 1 if depth > 0 => {
                let (word, condition) = (self.one("if !if"), self.boolean(2));
                let then = self.source(depth - 1);
                match self.rng.percent(50) {
                    true => format!("({word} {condition} {then})"),
                    false => format!("({word} {condition} {then} {})", self.source(depth - 1)),
                }
            }
            2 => self.number(2),
            _ => {
                let weight = match self.rng.percent(80) {
                    true => self.rng.below(11).to_string(),
                    false if self.rng.percent(self.wild) => self.name(false),
                    false => format!("(min 10 {})", self.name(false)),
                };
                format!("(ewma {weight} {})", self.number(2))
            }
        }
    }

    /// An assignment to something of either type.
    fn assign(&mut self, depth: usize) -> String {
        match self.rng.percent(30) {
            true => self.assign_boolean(depth),
            false => self.assign_number(depth),
        }
    }

    fn assign_number(&mut self, depth: usize) -> String {
        let value = self.number(depth);
        let target = self.target(false);
        format!("({} {target} {value})", self.one(":= bind"))
    }

    fn assign_boolean(&mut self, depth: usize) -> String {
        let value = self.boolean(depth);
        let target = self.target(true);
        format!("(:= {target} {value})")
    }

    fn target(&mut self, boolean: bool) -> String {
        let lasting = self.lasting.of(boolean);
        if lasting.is_empty() || self.rng.percent(25) {
            return pick(self.rng, self.locals.of(boolean));
        }
        let target = pick(self.rng, lasting);
        // A program that writes the timer all the time sees nothing of it.
        match target.as_str() {
            "Micros" if self.rng.percent(80) => "Cwnd".to_owned(),
            _ => target,
        }
    }

    /// A variable or a measurement.
    fn name(&mut self, boolean: bool) -> String {
        let lasting = self.lasting.of(boolean);
        match self.rng.below(10) {
            0..=3 => pick(self.rng, self.measured.of(boolean)),
            4..=7 if !lasting.is_empty() => pick(self.rng, lasting),
            _ => pick(self.rng, self.locals.of(boolean)),
        }
    }

    fn literal(&mut self) -> String {
        match self.rng.below(8) {
            0 => self.one("10us 42ms 1s 0us"),
            1 => self.one("1_000 1_000_000 1_4_4_8"),
            2 if !self.narrow => "+infinity".to_owned(),
            3 | 4 if !self.narrow => value(self.rng).to_string(),
            _ => self.one("0 1 2 3 10 1448 65535"),
        }
    }

    fn number(&mut self, depth: usize) -> String {
        if depth == 0 || self.rng.percent(20) {
            return match self.rng.percent(30) {
                true => self.literal(),
                false => self.name(false),
            };
        }
        let deeper = depth - 1;
        let faults = self.rng.percent(self.wild);
        match self.rng.below(24) {
            0..=3 => {
                let word = self.one("+ add");
                let mut operands = self.operands(deeper, false);
                if !faults {
                    // With a bound on each, no sum of theirs overflows.
                    operands
                        .iter_mut()
                        .for_each(|o| *o = format!("(min {o} 1_000_000_000)"));
                }
                format!("({word} {})", operands.join(" "))
            }
            4 | 5 => {
                let word = self.one("* mul");
                // Not every overflow is noticed there.
                if faults && !self.narrow {
                    return format!("({word} {})", self.operands(deeper, false).join(" "));
                }
                let (a, b) = (self.number(deeper), self.one("0 1 2 3 1448"));
                format!("({word} (min {a} 4294967295) {b})")
            }
            6 | 7 => {
                let word = self.one("- sub");
                let (a, b) = (self.number(deeper), self.number(deeper));
                match faults {
                    true => format!("({word} {a} {b})"),
                    false => {
                        let b = self.name(false);
                        format!("({word} (max {a} {b}) {b})")
                    }
                }
            }
            8 | 9 => {
                let word = self.one("/ div");
                let (a, b) = (self.number(deeper), self.number(deeper));
                match faults {
                    true => format!("({word} {a} {b})"),
                    false => format!("({word} {a} (max 1 {b}))"),
                }
            }
            10 | 11 => {
                let word = self.one("-| sat_sub");
                format!("({word} {} {})", self.number(deeper), self.number(deeper))
            }
            12..=15 => {
                let word = self.one("min max");
                format!("({word} {})", self.operands(deeper, false).join(" "))
            }
            16 => format!(
                "(wrapped_max {} {})",
                self.number(deeper),
                self.number(deeper)
            ),
            17..=19 => {
                let (word, condition) = (self.one("if !if"), self.boolean(deeper));
                let (then, other) = (self.number(deeper), self.number(deeper));
                format!("({word} {condition} {then} {other})")
            }
            20 if self.effects => self.assign_number(deeper),
            21 | 22 if self.effects => self.cycle(deeper),
            _ => {
                // A sign needs no space.
                let sign = self.one("+ max");
                let space = if sign == "+" { "" } else { " " };
                format!("({sign}{space}1 (min {} 1_000))", self.number(deeper))
            }
        }
    }

    fn boolean(&mut self, depth: usize) -> String {
        if depth == 0 || self.rng.percent(20) {
            return match self.rng.percent(15) {
                true => self.one("true false"),
                false => self.name(true),
            };
        }
        let deeper = depth - 1;
        match self.rng.below(14) {
            0..=5 => {
                let word = self.one("> gt < lt >= ge <= le == eq != ne");
                format!("({word} {} {})", self.number(deeper), self.number(deeper))
            }
            6 => {
                let word = self.one("== eq != ne");
                format!("({word} {} {})", self.boolean(deeper), self.boolean(deeper))
            }
            7..=9 => {
                let word = self.one("&& and || or");
                format!("({word} {})", self.operands(deeper, true).join(" "))
            }
            10 | 11 => format!("({} {})", self.one("! not"), self.boolean(deeper)),
            12 if self.effects => self.assign_boolean(deeper),
            _ => {
                let (word, condition) = (self.one("if !if"), self.boolean(deeper));
                let (then, other) = (self.boolean(deeper), self.boolean(deeper));
                format!("({word} {condition} {then} {other})")
            }
        }
    }

    /// Two, three or four.
    fn operands(&mut self, depth: usize, boolean: bool) -> Vec<String> {
        let count = self.rng.pick(&[2, 2, 2, 3, 3, 4]);
        let mut one = || match boolean {
            true => self.boolean(depth),
            false => self.number(depth),
        };
        (0..count).map(|_| one()).collect()
    }

    fn cycle(&mut self, depth: usize) -> String {
        let mut base = self.number(depth);
        if !self.rng.percent(self.wild) {
            base = format!("(min {base} 100_000_000)");
        }
        let (mut phases, mut rounds) = (String::new(), false);
        for _ in 0..1 + self.rng.below(4) {
            let gain = self.one("5/4 3/4 1 0.75 1.25 2 2885/1000 1/3 10/10");
            let length = self.one("1rtt 2rtt 6rtt 1ms 15ms 100us");
            rounds |= length.ends_with("rtt");
            phases += &format!(" ({gain} {length})");
        }
        let mut round_trip = String::new();
        if rounds && self.rng.percent(50) {
            round_trip = format!(" (rtt {})", self.number(depth));
        }
        format!("(cycle {base}{round_trip}{phases})")
    }

    /// One of these words.
    fn one(&mut self, of: &str) -> String {
        pick(self.rng, &words(of))
    }
}

fn pick(rng: &mut Rng, from: &[String]) -> String {
    let at = rng.below(from.len());
    from.get(at).cloned().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// Everything that the language has stands in some program, and every program compiles.
    #[test]
    fn every_construct_is_covered() {
        let table = RegisterTable::well_known();
        let mut seen = BTreeSet::new();
        let (mut operands, mut elses, mut reported_outside) = (BTreeSet::new(), 0, 0);
        for seed in 0..500 {
            let source = program(&mut Rng::new(seed), &table);
            if let Err(errors) = crate::compile(&source, &table) {
                panic!("seed {seed}:\n{}", errors.render(&source, "random.ccp"));
            }
            elses += source.matches("(else ").count();
            reported_outside += source.matches(" (Report.").count();
            for list in source.split('(').skip(1) {
                let mut words = list.split([' ', ')', '\n']);
                seen.insert(words.next().unwrap_or_default().to_owned());
                seen.extend(words.map(str::to_owned));
            }
            for op in ["min", "&&", "or"] {
                let opening = format!("({op} ");
                let lists = source.split(&opening).skip(1);
                operands.extend(lists.map(|rest| (op, operands_in(rest))));
            }
        }
        let all = crate::parse::SPELLINGS.iter();
        let missing: Vec<_> = all.filter(|word| !seen.contains(**word)).collect();
        assert!(missing.is_empty(), "{missing:?}");
        for op in ["min", "&&", "or"] {
            let counts = [2, 3, 4].map(|count| operands.contains(&(op, count)));
            assert_eq!(counts, [true; 3], "operands of {op}");
        }
        for def in table.primitives().iter().chain(table.writables()) {
            assert!(seen.contains(&*def.name), "{}", def.name);
        }
        for word in [
            "volatile",
            "rtt",
            "6rtt",
            "42ms",
            "1_000",
            "+infinity",
            "+1",
            "Micros",
        ] {
            assert!(seen.contains(word), "{word}");
        }
        assert!(elses > 10 && reported_outside > 10);
    }

    /// How many operands come before the bracket that closes.
    fn operands_in(rest: &str) -> usize {
        let (mut depth, mut count, mut inside) = (0, 0, false);
        for c in rest.chars() {
            match c {
                ')' if depth == 0 => break,
                ')' => depth -= 1,
                ' ' if depth == 0 => inside = false,
                _ => {
                    if depth == 0 && !inside {
                        (count, inside) = (count + 1, true);
                    }
                    depth += i32::from(c == '(');
                }
            }
        }
        count
    }
}
