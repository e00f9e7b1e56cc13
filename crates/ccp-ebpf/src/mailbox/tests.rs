use super::*;
use crate::layout::{FIELD_CWND, FIELD_RATE};

fn words() -> Words {
    Words {
        seq: AtomicU32::new(0),
        generation: AtomicU32::new(0),
        program: AtomicU32::new(0),
        program_seq: AtomicU32::new(0),
        value: [const { AtomicU64::new(0) }; FIELDS],
        field_seq: [const { AtomicU32::new(0) }; FIELDS],
    }
}

/// A flow's end of the slot, as the glue reads it.
#[derive(Default)]
struct Reader {
    seen: u32,
    generation: u32,
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Applied {
    program: Option<u32>,
    fields: Vec<(usize, u64)>,
}

impl Reader {
    fn announce(&mut self, words: &Words) -> u32 {
        self.generation += 1;
        self.seen = words.seq.load(Ordering::Relaxed);
        self.generation
    }

    fn read(&mut self, words: &Words) -> Applied {
        let r = Ordering::Relaxed;
        let seq = words.seq.load(r);
        let mut applied = Applied::default();
        let seen = self.seen;
        if seq == seen || seq & 1 == 1 {
            return applied;
        }
        self.seen = seq;
        if words.generation.load(r) != self.generation {
            return applied;
        }
        let newer = |s: u32| s.wrapping_sub(seen).cast_signed() > 0;
        applied.program = newer(words.program_seq.load(r)).then(|| words.program.load(r));
        for i in 0..FIELDS {
            if newer(words.field_seq[i].load(r)) {
                applied.fields.push((i, words.value[i].load(r)));
            }
        }
        applied
    }
}

fn fields(fields: &[(usize, u64)]) -> Applied {
    Applied {
        program: None,
        fields: fields.to_vec(),
    }
}

#[test]
fn each_field_is_applied_exactly_once() {
    let (words, mut flow) = (words(), Reader::default());
    let g = flow.announce(&words);
    write_slot(&words, g, None, &[(FIELD_CWND, 10)]);
    write_slot(&words, g, None, &[(FIELD_RATE, 20)]);
    assert_eq!(flow.read(&words), fields(&[(0, 10), (1, 20)]));
    assert_eq!(flow.read(&words), Applied::default());
    write_slot(&words, g, None, &[(5, 30)]);
    assert_eq!(flow.read(&words), fields(&[(5, 30)]));
}

#[test]
fn the_last_value_counts() {
    let (words, mut flow) = (words(), Reader::default());
    let g = flow.announce(&words);
    write_slot(&words, g, None, &[(0, 10), (0, 11)]);
    write_slot(&words, g, None, &[(0, 12)]);
    assert_eq!(flow.read(&words), fields(&[(0, 12)]));
}

#[test]
fn a_program_change_voids_controls_and_keeps_window_and_rate() {
    let (words, mut flow) = (words(), Reader::default());
    let g = flow.announce(&words);
    write_slot(&words, g, Some(7), &[(0, 10), (2, 1), (3, 2)]);
    write_slot(&words, g, Some(8), &[(3, 4)]);
    let applied = flow.read(&words);
    assert_eq!(applied.program, Some(8));
    assert_eq!(applied.fields, [(0, 10), (3, 4)]);
    // The program is not started again by later writes.
    write_slot(&words, g, None, &[(2, 5)]);
    assert_eq!(flow.read(&words), fields(&[(2, 5)]));
}

#[test]
fn what_was_written_for_an_earlier_announcement_is_void() {
    let (words, mut flow) = (words(), Reader::default());
    let g = flow.announce(&words);
    write_slot(&words, g, Some(7), &[(0, 10)]);
    let h = flow.announce(&words);
    // The daemon has not heard of it yet.
    write_slot(&words, g, None, &[(1, 20)]);
    assert_eq!(flow.read(&words), Applied::default());
    // Now it has; nothing of before comes with it.
    write_slot(&words, g, None, &[(1, 21)]);
    write_slot(&words, h, None, &[(2, 30)]);
    assert_eq!(flow.read(&words), fields(&[(2, 30)]));
}

#[test]
fn a_killed_writers_odd_sequence_is_passed_over() {
    let (words, mut flow) = (words(), Reader::default());
    let g = flow.announce(&words);
    words.seq.store(3, Ordering::Relaxed);
    assert_eq!(flow.read(&words), Applied::default());
    write_slot(&words, g, None, &[(0, 1)]);
    assert_eq!(words.seq.load(Ordering::Relaxed), 6);
    assert_eq!(flow.read(&words), fields(&[(0, 1)]));
}

/// A field written once must not come back when the sequence has gone half around.
#[test]
fn old_fields_stay_old_while_the_sequence_wraps() {
    let (words, mut flow) = (words(), Reader::default());
    let g = flow.announce(&words);
    write_slot(&words, g, Some(9), &[(0, 10), (4, 40)]);
    assert_eq!(flow.read(&words).fields, [(0, 10), (4, 40)]);
    // 2^28 writes of the rate between looks, sixteen times: once around.
    for i in 0..20 {
        let seq = words.seq.load(Ordering::Relaxed);
        words
            .seq
            .store(seq.wrapping_add(1 << 28), Ordering::Relaxed);
        write_slot(&words, g, None, &[(1, i)]);
        assert_eq!(flow.read(&words), fields(&[(1, i)]), "step {i}");
    }
}

#[test]
fn a_name_is_no_window_for_who_writes_after_it() {
    let words = words();
    let mut reader = Reader::default();
    let generation = reader.announce(&words);
    write_slot(
        &words,
        generation,
        Some(7),
        &[(FIELD_CWND, 5), (FIELD_RATE, 6)],
    );
    write_name(&words, generation, *b"reno\0\0\0\0\0\0\0\0\0\0\0\0");
    assert_eq!(words.value[0].load(R).to_ne_bytes(), *b"reno\0\0\0\0");
    assert_eq!(words.value[1].load(R), 0);
    // The flow is given something else before its next ACK.
    write_slot(&words, generation, Some(9), &[(FIELD_RATE, 8)]);
    let applied = Applied {
        program: Some(9),
        fields: vec![(FIELD_RATE, 8)],
    };
    assert_eq!(reader.read(&words), applied);
    write_name(&words, generation, *b"a_long_name.bbr\0");
    let applied = Applied {
        program: Some(PROGRAM_ELSEWHERE),
        fields: Vec::new(),
    };
    assert_eq!(reader.read(&words), applied);
    assert_eq!(words.value[1].load(R).to_ne_bytes(), *b"ame.bbr\0");
}
