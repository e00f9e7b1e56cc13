//! What is applied to the socket.

use ccp_ebpf::layout::{
    F_PACING_SET, Hot, MAX_CWND_PACKETS, MAX_PACING_PERCENT, PRIM_SSTHRESH, REG_CWND, REG_RATE,
    REG_SSTHRESH,
};
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
pub(crate) fn applied(before: &Memory) -> Memory {
    let mut after = *before;
    let f = &mut after.flow;
    let window = if f.prr_cwnd != 0 {
        f.prr_cwnd
    } else {
        let packets = f.reg[REG_CWND] / u64::from(f.mss);
        let most = before.socket.snd_cwnd_clamp.min(MAX_CWND_PACKETS);
        let window = packets.min(most.into()).max(1) as u32;
        if packets > most.into() {
            f.reg[REG_CWND] = u64::from(window) * u64::from(f.mss);
        }
        window
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
        let socket = &before.socket;
        let pace = if window < socket.snd_ssthresh / 2 {
            f.pace_ss
        } else {
            f.pace_ca
        };
        let per_packet =
            (u64::from(f.mss) * u64::from(pace) * 80_000).checked_div(socket.srtt_us.into());
        let packets = u64::from(window.max(socket.packets_out));
        rate = per_packet.unwrap_or(0).wrapping_mul(packets);
    }
    rate = rate.min(before.socket.sk_max_pacing_rate);
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
            f.prr_cwnd = rng.pick(&[0, 0, 1, 77]);
            f.pace_ss = rng.pick(&[0, 200, MAX_PACING_PERCENT]);
            f.pace_ca = rng.pick(&[1, 120, MAX_PACING_PERCENT]);
            f.applied_cwnd = rng.pick(&[0, 1, 10, 1 << 20, u32::MAX]);
            f.flags = rng.pick(&[0, 4, 16, 0x8000_0020]);
            f.reg[REG_CWND] = match rng.below(3) {
                // Around what is applied already.
                0 => {
                    let bytes = u64::from(f.applied_cwnd) * u64::from(f.mss);
                    bytes.wrapping_add(rng.pick(&[
                        0,
                        1,
                        u64::MAX,
                        u64::from(f.mss) - 1,
                        f.mss.into(),
                    ]))
                }
                _ => value(&mut rng),
            };
            f.reg[REG_RATE] = if rng.percent(50) { 0 } else { value(&mut rng) };
            memory.socket = Socket {
                snd_cwnd: 10,
                snd_cwnd_clamp: rng.pick(&[0, 1, 2, 10, 1 << 20, u32::MAX]),
                snd_ssthresh: rng.pick(&[2, 40, 0x7fff_ffff]),
                packets_out: rng.pick(&[0, 1, 12, 1 << 20]),
                srtt_us: rng.pick(&[0, 1, 8 * 20_000, u32::MAX]),
                sk_pacing_status: rng.pick(&[0, 1, 2]),
                sk_pacing_rate: 555,
                sk_max_pacing_rate: rng.pick(&[u64::MAX, 1_000_000, 1]),
                hot: Hot::default(),
            };
            bench.set(memory);
            bench.run(&loaded);
            let after = bench.get();
            let expected = applied(&memory);
            let socket = Socket {
                hot: Hot::default(),
                ..after.socket
            };
            assert_eq!(socket, expected.socket, "{memory:?}");
            assert_eq!(after.flow.applied_cwnd, expected.flow.applied_cwnd);
            assert_eq!(after.flow.flags, expected.flow.flags);
            assert_eq!(after.flow.reg, expected.flow.reg);
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
            memory.socket.snd_cwnd_clamp = 1 << 20;
            memory.socket.sk_max_pacing_rate = u64::MAX;
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
