//! Random programs as text: well typed, every construct, numbers that seldom fault. Shared by tests
//! that run them in different ways.

/// A source of small decisions; the same seed makes the same ones.
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// A number below `n`.
    pub(crate) fn below(&mut self, n: u32) -> u32 {
        // xorshift64*
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let high = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32;
        (high as u32) % n
    }

    /// One of some.
    pub(crate) fn one<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len() as u32) as usize]
    }
}

/// A program with report variables `a` (volatile) and `flag`, control variables `d` and `e`
/// (volatile), locals `g` and `h`.
pub(crate) fn program(dice: &mut Dice) -> String {
    let clauses: Vec<String> = (0..1 + dice.below(3))
        .map(|_| {
            let condition = match dice.below(3) {
                0 => number(dice, 2),
                _ => truth(dice, 3),
            };
            let body: Vec<String> = (0..1 + dice.below(4)).map(|_| statement(dice, 2)).collect();
            format!("(when {condition}\n    {})", body.join("\n    "))
        })
        .collect();
    format!(
        "(def (Report (volatile a 0) (flag false)) (d 5) (volatile e true))\n{}\n(when true (:= g 1) (:= h true))",
        clauses.join("\n")
    )
}

/// A random expression of a type, as text.
fn number(dice: &mut Dice, depth: u32) -> String {
    if depth == 0 || dice.below(4) == 0 {
        return dice
            .one(&[
                "0",
                "1",
                "2",
                "10",
                "1460",
                "Cwnd",
                "Rate",
                "Micros",
                "Report.a",
                "d",
                "g",
                "Ack.bytes_acked",
                "Flow.rtt_sample_us",
                "Ack.lost_pkts_sample",
            ])
            .to_owned();
    }
    let (a, b) = (number(dice, depth - 1), number(dice, depth - 1));
    match dice.below(8) {
        0 => {
            let op = dice.one(&["+", "max", "min"]);
            format!("({op} {a} {b} {})", number(dice, depth - 1))
        }
        1 => {
            let word = dice.one(&["if", "!if"]);
            format!("({word} {} {a} {b})", truth(dice, depth - 1))
        }
        _ => {
            let op = dice.one(&[
                "+",
                "+",
                "max",
                "min",
                "min",
                "/",
                "-",
                "-|",
                "*",
                "wrapped_max",
                "add",
            ]);
            format!("({op} {a} {b})")
        }
    }
}

fn truth(dice: &mut Dice, depth: u32) -> String {
    if depth == 0 || dice.below(5) == 0 {
        return dice
            .one(&["true", "false", "Report.flag", "e", "h", "Flow.was_timeout"])
            .to_owned();
    }
    match dice.below(6) {
        0 => format!("(! {})", truth(dice, depth - 1)),
        1 => {
            let op = dice.one(&["&&", "||"]);
            let [a, b, c] = [(); 3].map(|()| truth(dice, depth - 1));
            format!("({op} {a} {b} {c})")
        }
        2 => {
            let op = dice.one(&["&&", "||", "and", "or", "==", "!="]);
            format!(
                "({op} {} {})",
                truth(dice, depth - 1),
                truth(dice, depth - 1)
            )
        }
        _ => {
            let op = dice.one(&[">", "<", ">=", "<=", "==", "!="]);
            format!(
                "({op} {} {})",
                number(dice, depth - 1),
                number(dice, depth - 1)
            )
        }
    }
}

fn statement(dice: &mut Dice, depth: u32) -> String {
    let target = |dice: &mut Dice| dice.one(&["Report.a", "Cwnd", "Rate", "d", "g"]);
    match dice.below(11) {
        0..=2 => format!("(:= {} {})", target(dice), number(dice, 3)),
        3 => {
            let flag = dice.one(&["Report.flag", "e", "h"]);
            format!("(:= {flag} {})", truth(dice, 3))
        }
        4 => {
            let word = dice.one(&["if", "!if"]);
            format!(
                "(:= {} ({word} {} {}))",
                target(dice),
                truth(dice, 2),
                number(dice, 2)
            )
        }
        5 => format!(
            "(:= {} (ewma {} {}))",
            target(dice),
            dice.below(11),
            number(dice, 2)
        ),
        6 => dice
            .one(&["(report)", "(fallthrough)", "(reset)"])
            .to_owned(),
        7 | 8 if depth > 0 => {
            let word = dice.one(&["if", "!if"]);
            let body = block(dice, depth - 1);
            let otherwise = match dice.below(2) {
                0 => String::new(),
                _ => format!(" (else {})", block(dice, depth - 1)),
            };
            format!("({word} {} {body}{otherwise})", truth(dice, 2))
        }
        9 => format!(
            "(:= {} (cycle {} (5/4 {}ms) (0.5 1rtt)))",
            target(dice),
            number(dice, 1),
            1 + dice.below(20)
        ),
        _ => format!("(:= Report.a (+ Report.a {}))", number(dice, 1)),
    }
}

fn block(dice: &mut Dice, depth: u32) -> String {
    let statements: Vec<String> = (0..1 + dice.below(3))
        .map(|_| statement(dice, depth))
        .collect();
    statements.join(" ")
}
