//! What is applied to the socket.

use ccp_ebpf::layout::{F_PACING_SET, PRIM_SSTHRESH, REG_CWND, REG_RATE, REG_SSTHRESH};
use ccp_program::testing::{Rng, value};
use ccp_program::{BinaryOp, Clause, Inst, Operand, Program, Reg, RegisterTable};

use crate::harness::{Bench, Memory, Socket, can_load};

/// A program that changes nothing, or that always faults.
fn program(faults: bool) -> Program {
    let table = RegisterTable::libccp();
    let fault = Inst::Binary {
        op: BinaryOp::Div,
        dst: Reg::Local(0),
        a: Operand::Imm(1),
        b: Reg::Local(0).into(),
    };
    let spoil = |dst| Inst::Move {
        dst,
        src: Operand::Imm(1),
    };
    Program {
        primitives: table.primitives().to_vec(),
        writables: table.writables().to_vec(),
        locals: 1,
        clauses: vec![Clause {
            body: if faults {
                vec![spoil(Reg::CWND), spoil(Reg::RATE), fault]
            } else {
                vec![]
            },
            ..Clause::default()
        }],
        ..Program::default()
    }
}

/// The contract in `intf.h`, word for word.
fn applied(before: &Memory) -> Memory {
    let mut after = *before;
    let f = &mut after.flow;
    let window = if f.prr_cwnd != 0 {
        f.prr_cwnd
    } else {
        let packets = f.reg[REG_CWND] / u64::from(f.mss);
        packets.clamp(1, f.cwnd_max.into()) as u32
    };
    after.socket.snd_cwnd = window;
    f.applied_cwnd = window;
    let mut rate = f.reg[REG_RATE];
    if rate != 0 {
        rate = rate.max(f.mss.into());
        if after.socket.sk_pacing_status == 0 {
            after.socket.sk_pacing_status = 1;
            f.flags |= F_PACING_SET;
        }
    } else {
        rate = f
            .pace_per_packet
            .wrapping_mul(window.max(f.packets_out).into());
    }
    rate = rate.min(f.max_pacing_rate);
    if rate != 0 {
        after.socket.sk_pacing_rate = rate;
    }
    after
}

#[test]
fn root_window_and_rate_are_applied_as_the_contract_says() {
    if !can_load() {
        return;
    }
    let bench = Bench::new(4096);
    let mut rng = Rng::new(3);
    for faults in [false, true] {
        let (_generated, loaded) = bench.load(&program(faults)).unwrap();
        for _ in 0..3000 {
            let mut memory = Memory::zeroed();
            let f = &mut memory.flow;
            f.mss = rng.pick(&[1, 536, 1448, 9000, 65_483]);
            f.cwnd_max = rng.pick(&[1, 2, 10, 1 << 20]);
            f.prr_cwnd = rng.pick(&[0, 0, 1, 77]);
            f.packets_out = rng.pick(&[0, 1, 12, 1 << 20]);
            f.pace_per_packet = rng.pick(&[0, 1, 34_000, 1 << 36]);
            f.max_pacing_rate = rng.pick(&[u64::MAX, 1_000_000, 1]);
            f.flags = rng.pick(&[0, 4, 16, 0x8000_0020]);
            f.reg[REG_CWND] = value(&mut rng);
            f.reg[REG_RATE] = if rng.percent(50) { 0 } else { value(&mut rng) };
            memory.socket = Socket {
                snd_cwnd: 10,
                snd_ssthresh: 20,
                padding: 0,
                sk_pacing_status: rng.pick(&[0, 1, 2]),
                sk_pacing_rate: 555,
            };
            bench.set(memory);
            bench.run(&loaded);
            let after = bench.get();
            let expected = applied(&memory);
            assert_eq!(after.socket, expected.socket, "{memory:?}");
            assert_eq!(after.flow.applied_cwnd, expected.flow.applied_cwnd);
            assert_eq!(after.flow.flags, expected.flow.flags);
            assert_eq!(after.flow.reg, memory.flow.reg);
            assert_eq!(after.flow.faults, u32::from(faults));
        }
    }
}

/// A program that sets `Ssthresh`, and the window besides.
fn sets_ssthresh(to: u64) -> Program {
    let table = ccp_ebpf::register_table();
    let set = |dst, value| Inst::Move {
        dst,
        src: Operand::Imm(value),
    };
    let (place, _) = table.writable("Ssthresh").unwrap();
    Program {
        primitives: table.primitives().to_vec(),
        writables: table.writables().to_vec(),
        clauses: vec![Clause {
            body: vec![set(Reg::CWND, 14_480), set(Reg::Writable(place), to)],
            ..Clause::default()
        }],
        ..Program::default()
    }
}

#[test]
fn root_ssthresh_is_bounded_and_is_the_target_of_a_reduction() {
    if !can_load() {
        return;
    }
    let bench = Bench::new(4096);
    for (to, packets, bytes) in [
        (0, 2, 2000),
        (1999, 2, 2000),
        (7999, 7, 7999),
        (u64::MAX, 0x7fff_ffff, u64::MAX),
    ] {
        let (generated, loaded) = bench.load(&sets_ssthresh(to)).unwrap();
        assert_eq!(generated.prim_mask, 1 << PRIM_SSTHRESH, "it is loaded");
        for (was, reducing) in [(5000, false), (5000, true), (to, true)] {
            let mut memory = Memory::zeroed();
            memory.flow.mss = 1000;
            memory.flow.cwnd_max = 1 << 20;
            memory.flow.max_pacing_rate = u64::MAX;
            memory.flow.prr_cwnd = if reducing { 33 } else { 0 };
            memory.flow.prim[PRIM_SSTHRESH] = was;
            memory.flow.reg[REG_SSTHRESH] = was;
            memory.socket.snd_ssthresh = 77;
            bench.set(memory);
            bench.run(&loaded);
            let after = bench.get();
            let (expected, cwnd) = match (was == to, reducing) {
                // What it was already is left alone.
                (true, _) => (77, 14_480),
                (false, true) => (packets, bytes),
                (false, false) => (packets, 14_480),
            };
            assert_eq!(after.socket.snd_ssthresh, expected, "{to} {was}");
            assert_eq!(after.flow.reg[REG_CWND], cwnd, "{to} {was} {reducing}");
            // What PRR allows at this acknowledgement stays.
            assert_eq!(after.socket.snd_cwnd, if reducing { 33 } else { 14 });
        }
    }
}
