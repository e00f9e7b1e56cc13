use std::mem::MaybeUninit;

use libbpf_rs::btf::types::Struct;
use libbpf_rs::btf::{Btf, HasSize};
use libbpf_rs::skel::{OpenSkel, SkelBuilder};
use libbpf_rs::{AsRawLibbpf, btf::types::MemberAttr};

use super::*;
use crate::skel::glue::CcpSkelBuilder;

/// Names and offsets of a structure's members as clang laid them out for the glue.
fn in_glue(btf: &Btf<'_>, name: &str) -> (usize, Vec<(String, usize)>) {
    let ty: Struct<'_> = btf
        .type_by_name(name)
        .unwrap_or_else(|| panic!("no {name}"));
    let members = ty.iter().map(|m| {
        let MemberAttr::Normal { offset } = m.attr else {
            panic!("{name} has bit fields");
        };
        let name = m.name.unwrap().to_string_lossy().into_owned();
        (name, offset as usize / 8)
    });
    (ty.size(), members.collect())
}

macro_rules! same {
    ($btf:expr, $c:literal, $rust:ident { $($field:ident),* $(,)? }) => {{
        let (size, members) = in_glue($btf, $c);
        assert_eq!(size, size_of::<$rust>(), "size of {}", $c);
        let ours = vec![$((stringify!($field).to_owned(), offset_of!($rust, $field))),*];
        assert_eq!(members, ours, "members of {}", $c);
    }};
}

#[test]
fn the_mirror_is_the_glues_layout() {
    let mut object = MaybeUninit::uninit();
    let open = CcpSkelBuilder::default().open(&mut object).unwrap();
    // SAFETY: the object lives as long as `open`.
    let raw = unsafe { open.open_object().as_libbpf_object().as_ref() };
    let btf = Btf::from_bpf_object(raw).unwrap().unwrap();
    let btf = &btf;
    same!(
        btf,
        "ccp_flow",
        Flow {
            program,
            due,
            applied_cwnd,
            looked_us,
            look_after_us,
            prr_cwnd,
            mss,
            pace_ss,
            pace_ca,
            fault_run,
            flags,
            epoch,
            slot,
            seen_seq,
            last_bytes_acked,
            last_delivered,
            last_delivered_ce,
            last_lost,
            last_sacked_out,
            round_delivered,
            rounds,
            micros_base_us,
            bytes_lost,
            bytes_ce,
            bytes_delivered,
            start_bytes_acked,
            sock_id,
            generation,
            program_uid,
            merged,
            reports,
            ring_full,
            faults,
            was_timeout,
            timeouts,
            mode,
            announced_us,
            prr_delivered,
            mark,
            counted_faults,
            counted_ring_full,
            counted_reports,
            prim_mask,
            waiting_us,
            seen_reports,
            netns_inum,
            uid,
            told_faults,
            new_faults,
            refreshed_us,
            refresh_after_us,
            reserved32,
            reserved,
            prim,
            reg,
        }
    );
    same!(
        btf,
        "ccp_mailbox",
        MailboxSlot {
            seq,
            generation,
            program,
            program_seq,
            value,
            field_seq,
        }
    );
    same!(
        btf,
        "ccp_program_meta",
        ProgramMeta {
            handle,
            uid,
            flags,
            count,
            prim_mask,
            faults,
            defaults,
        }
    );
    same!(
        btf,
        "ccp_slot",
        Slot {
            sock_id,
            generation,
            incarnation,
            live,
            mode,
            program_uid,
            snd_cwnd,
            mss,
            ca_state,
            srtt_us,
            min_rtt_us,
            faults,
            pacing_rate,
            bytes_sent,
            bytes_delivered,
            bytes_lost,
            netns_inum,
            reports,
            ring_full,
            timeouts,
            family,
            reserved,
        }
    );
    same!(
        btf,
        "ccp_config",
        Config {
            beat_ns,
            fallback_after_ns,
            netns_inum,
            epoch,
            flags,
            max_flows,
            max_fault_run,
            next_slot,
            unanswered_after_us,
            initial_netns,
            max_per_namespace,
            max_per_user,
            polling,
            reserved,
        }
    );
}

#[test]
fn what_flows_had_is_the_glues_layout() {
    let mut object = MaybeUninit::uninit();
    let open = CcpSkelBuilder::default().open(&mut object).unwrap();
    // SAFETY: the object lives as long as `open`.
    let raw = unsafe { open.open_object().as_libbpf_object().as_ref() };
    let btf = Btf::from_bpf_object(raw).unwrap().unwrap();
    let btf = &btf;
    same!(btf, "ccp_taken", Taken { before });
}

/// Nothing of the glue's type information mentions it, so the header asserts the places of its members.
#[test]
fn the_mirror_of_what_is_in_the_socket_is_the_headers() {
    let header = include_str!("../bpf/intf.h");
    for (member, offset) in [
        ("word", offset_of!(Hot, word)),
        ("cwnd", offset_of!(Hot, cwnd)),
        ("applied_cwnd", offset_of!(Hot, applied_cwnd)),
        ("pace_ss", offset_of!(Hot, pace_ss)),
        ("pace_ca", offset_of!(Hot, pace_ca)),
        ("slot", offset_of!(Hot, slot)),
        ("seen_seq", offset_of!(Hot, seen_seq)),
        ("epoch", offset_of!(Hot, epoch)),
        ("looks", offset_of!(Hot, looks)),
        ("look_after_us", offset_of!(Hot, look_after_us)),
        ("last_bytes_acked", offset_of!(Hot, last_bytes_acked)),
        ("last_lost", offset_of!(Hot, last_lost)),
        ("last_delivered_ce", offset_of!(Hot, last_delivered_ce)),
        ("mark", offset_of!(Hot, mark)),
        ("looked_us", offset_of!(Hot, looked_us)),
    ] {
        let assertion = format!("\nCCP_HOT_AT({member}, {offset});\n");
        assert!(header.contains(&assertion), "{assertion}");
    }
}

/// The constants of the header, by name.
#[test]
fn the_mirror_has_the_headers_constants() {
    let header = include_str!("../bpf/intf.h");
    let constant = |name: &str| -> u64 {
        let define = format!("#define {name} ");
        let at = header.find(&define).unwrap_or_else(|| panic!("no {name}"));
        let rest = header[at + define.len()..].trim_start();
        let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
        digits
            .parse()
            .unwrap_or_else(|_| panic!("{name} is not a number"))
    };
    for (name, ours) in [
        ("CCP_LAYOUT_VERSION", u64::from(LAYOUT_VERSION)),
        ("CCP_HOT_REGISTERS", HOT_REGISTERS as u64),
        ("CCP_HOT_WORDS", HOT_WORDS.into()),
        ("CCP_HOT_FRAME", HOT_FRAME.into()),
        ("CCP_MAX_PRIMITIVES", MAX_PRIMITIVES as u64),
        ("CCP_MAX_REGISTERS", MAX_REGISTERS as u64),
        ("CCP_MAX_CONTROL", MAX_CONTROL as u64),
        ("CCP_MAX_PROGRAMS", MAX_PROGRAMS as u64),
        ("CCP_MAX_FLOWS", u64::from(MAX_FLOWS)),
        ("CCP_MAX_NAMES", MAX_NAMES as u64),
        ("CCP_REG_CWND", REG_CWND as u64),
        ("CCP_REG_RATE", REG_RATE as u64),
        ("CCP_REG_MICROS", REG_MICROS as u64),
        ("CCP_REG_SSTHRESH", REG_SSTHRESH as u64),
        ("CCP_REG_CONTROL", REG_CONTROL as u64),
        ("CCP_PRIM_SSTHRESH", PRIM_SSTHRESH as u64),
        ("CCP_PRIM_COUNT", PRIM_COUNT as u64),
        ("CCP_F_PACING_SET", u64::from(F_PACING_SET)),
        ("CCP_DUE_GLUE", u64::from(DUE_GLUE)),
        ("CCP_F_ECE", u64::from(F_ECE)),
        ("CCP_MAX_PACING_PERCENT", u64::from(MAX_PACING_PERCENT)),
        ("CCP_PROGRAM_OWN_RECOVERY", u64::from(PROGRAM_OWN_RECOVERY)),
        ("CCP_CONFIG_STOPPING", u64::from(CONFIG_STOPPING)),
        ("CCP_FIELD_CWND", FIELD_CWND as u64),
        ("CCP_FIELD_RATE", FIELD_RATE as u64),
        ("CCP_FIELD_CONTROL", FIELD_CONTROL as u64),
        ("CCP_PROGRAM_ELSEWHERE", PROGRAM_ELSEWHERE.into()),
        ("CCP_MSG_MEASURE", u64::from(MSG_MEASURE)),
    ] {
        assert_eq!(constant(name), ours, "{name}");
    }
    assert!(header.contains("CCP_DUE_PASSED 0x80000000 ") && DUE_PASSED == 0x8000_0000);
    assert!(header.contains("CCP_PRIM_NOW = 5,") && PRIM_NOW == 5);
    assert!(header.contains("CCP_MAX_CWND_PACKETS (1 << 20)") && MAX_CWND_PACKETS == 1 << 20);
}
