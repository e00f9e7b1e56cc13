/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * What the glue (ccp.bpf.c), the generated programs (src/codegen) and the loader share: constants and the layout of every map value.
 *
 * src/layout.rs mirrors this file; a test compares the two through the BTF of the compiled glue. Any change to a value that lives in a pinned map
 * (all of them except the frames) must raise CCP_LAYOUT_VERSION: sockets opened under an old daemon keep its glue and share the maps with ours.
 */
#ifndef CCP_INTF_H
#define CCP_INTF_H

#define CCP_LAYOUT_VERSION 6

/* ---- limits (announced as capabilities; the loader refuses programs beyond them) ---- */
#define CCP_MAX_PRIMITIVES 40
#define CCP_MAX_REGISTERS 160
#define CCP_MAX_CONTROL 18
#define CCP_MAX_PROGRAMS 256 /* indices 1..255; 0 = no program */
#define CCP_MAX_FLOWS 65536
#define CCP_MAX_NAMES 8 /* registered at a time, for one datapath */
#define CCP_MAX_CWND_PACKETS (1 << 20) /* above TCP's largest window for any usual MSS */
#define CCP_MAX_PACING_PERCENT 1000 /* as the kernel's sysctls allow */
#define CCP_NO_SLOT 0xffffffffu

/* ---- registers: indices into ccp_flow.reg ---- */
#define CCP_REG_CWND 0    /* bytes; keeps fractions of a packet */
#define CCP_REG_RATE 1    /* bytes/s; 0 = no rate set: kernel-like pacing */
#define CCP_REG_MICROS 2  /* us since micros_base_us */
#define CCP_REG_SSTHRESH 3 /* bytes; loaded on every ACK if the program reads prim[SSTHRESH]; what it then writes is applied (see "ssthresh" below) */
#define CCP_REG_CONTROL 4 /* first control variable; behind the program's last one reports, locals, temporaries as codegen lays them out */

/* ---- primitives: indices into ccp_flow.prim; 0..14 are libccp's, in its order ---- */
enum ccp_prim {
	CCP_PRIM_BYTES_ACKED = 0,
	CCP_PRIM_BYTES_MISORDERED = 1,
	CCP_PRIM_ECN_BYTES = 2,
	CCP_PRIM_ECN_PACKETS = 3,
	CCP_PRIM_LOST_PKTS = 4,
	CCP_PRIM_NOW = 5, /* us, CLOCK_MONOTONIC */
	CCP_PRIM_PACKETS_ACKED = 6,
	CCP_PRIM_PACKETS_MISORDERED = 7,
	CCP_PRIM_BYTES_IN_FLIGHT = 8,
	CCP_PRIM_BYTES_PENDING = 9,
	CCP_PRIM_PACKETS_IN_FLIGHT = 10,
	CCP_PRIM_RATE_INCOMING = 11, /* bytes/s */
	CCP_PRIM_RATE_OUTGOING = 12, /* bytes/s */
	CCP_PRIM_RTT_SAMPLE_US = 13, /* latest valid sample; ~0 before the first */
	CCP_PRIM_WAS_TIMEOUT = 14,   /* 1 on the first ACK after an RTO */
};
/* From 15 on: Linux TCP's own, in the order of `registers.rs` (a test compares). */
#define CCP_PRIM_MSS 15
#define CCP_PRIM_SRTT_US 16
#define CCP_PRIM_MIN_RTT_US 17
#define CCP_PRIM_APP_LIMITED 18
#define CCP_PRIM_CWND_LIMITED 19
#define CCP_PRIM_ROUND_COUNT 20
#define CCP_PRIM_BYTES_SENT 21
#define CCP_PRIM_BYTES_DELIVERED 22
#define CCP_PRIM_BYTES_LOST 23
#define CCP_PRIM_BYTES_CE 24
#define CCP_PRIM_RECOVERY_STATE 25
#define CCP_PRIM_SSTHRESH 26
#define CCP_PRIM_ECE 27
#define CCP_PRIM_RTTVAR_US 28
#define CCP_PRIM_BYTES_RETRANSMITTED 29
#define CCP_PRIM_PACING_RATE 30
#define CCP_PRIM_TIMEOUTS 31
#define CCP_PRIM_PACED 32
#define CCP_PRIM_COUNT 33

/* ---- modes of a flow ---- */
#define CCP_MODE_NATIVE 0   /* native CUBIC: announced, no program yet */
#define CCP_MODE_RUNNING 1  /* a program steers */
#define CCP_MODE_FALLBACK 2 /* native CUBIC: the daemon is gone, or the program faulted too often */

/* ---- flags of a flow (ccp_flow.flags): the glue's own, codegen leaves them alone ---- */
#define CCP_F_TIMEOUT 1      /* an RTO happened since the last ACK */
#define CCP_F_RESYNC 2       /* the kernel set snd_cwnd (undo): take it over even if it equals what we applied */
#define CCP_F_REDUCING 4     /* in CWR/Recovery: PRR is running */
#define CCP_F_UNDONE 8       /* the reduction in progress was undone */
#define CCP_F_PACING_SET 16  /* we turned sk_pacing_status on */
#define CCP_F_OWN_RECOVERY 32 /* the program keeps full control in recovery: no PRR, no re-reading of snd_cwnd */
#define CCP_F_ECE 64         /* ECE seen by in_ack_event (kernels before 6.10 only) */
#define CCP_F_CWND_PENDING 128 /* Cwnd was updated before the first program: it starts from that */
#define CCP_F_ANSWERED 256   /* the daemon wrote to this generation: no need to announce it again */
/* While one of these is set, each ACK is the glue's first: `due` says so to the program. */
#define CCP_F_GLUE 7 /* TIMEOUT, RESYNC, REDUCING */
#define CCP_F_UNANSWERED 1024 /* fell back since nobody handled its reports: announced again when somebody does */
#define CCP_F_FAULTED 512    /* fell back since the program faulted too often: announced again only after a pause */

/* ---- ccp_flow.due ---- */
#define CCP_DUE_GLUE 1            /* the next ACK is the glue's first: it clears this when nothing is due any more */
#define CCP_DUE_PASSED 0x80000000 /* the glue has just done what is due */

/* How often a program looks at what others write: every 1/16 of a round-trip time, within these bounds. */
#define CCP_LOOK_AFTER_LEAST_US 25
#define CCP_LOOK_AFTER_MOST_US 1000

/* What a program counts by itself if it reads one of these; the glue does the rest (bits of prim_mask). */
#define CCP_COUNTS_LOSSES (1ULL << CCP_PRIM_LOST_PKTS | 1ULL << CCP_PRIM_BYTES_LOST)
#define CCP_COUNTS_MARKS (1ULL << CCP_PRIM_ECN_BYTES | 1ULL << CCP_PRIM_ECN_PACKETS | 1ULL << CCP_PRIM_BYTES_CE)
#define CCP_COUNTS_DELIVERIES (1ULL << CCP_PRIM_BYTES_MISORDERED | 1ULL << CCP_PRIM_PACKETS_ACKED | 1ULL << CCP_PRIM_PACKETS_MISORDERED)

/* ---- flags of a program (ccp_program_meta.flags) ---- */
#define CCP_PROGRAM_OWN_RECOVERY 1

/*
 * BPF_MAP_TYPE_SK_STORAGE value: one per socket. Zeroed by the kernel when created.
 *
 * The way of an ACK. ccp_cong_control looks at a word of icsk_ca_priv that says which program runs the flow, and tail-calls it: no look-up. Everything
 * that is due only now and then (updates, announcements, fallback, recovery, what others see of the flow) is the glue's, to which a program gives way by
 * clearing that word and tail-calling programs[0]; the glue does what is due, says so in `due`, and tail-calls the program again.
 *
 * Contract of a generated program (attach point tcp_congestion_ops.cong_control, ctx as for the glue):
 *   entry   f = bpf_sk_storage_get(flows, sk, NULL, 0). Gives way to the glue if there is none, and, unless `due` says that it has passed, also if
 *           f->program is not the program's own handle; `due` is not 0; the window in the socket is not applied_cwnd (except with
 *           CCP_PROGRAM_OWN_RECOVERY). When look_after_us have passed since looked_us, it sets looked_us = now and gives way also if
 *           config.flags != 0, another config.epoch, or the heartbeat is older than config.fallback_after_ns; the mailbox
 *           was written (and is not being written); refresh_after_us have passed since refreshed_us.
 *           Passed: due &= ~CCP_DUE_PASSED.
 *   measure mss, last_bytes_acked, those of the other last_* that it counts by itself (CCP_COUNTS_*) with what follows from them;
 *           those prim[] that the program reads; reg[MICROS] = now - micros_base_us.
 *   body    on reg[] in place. A fault restores the registers written, ++faults, ++fault_run, due = CCP_DUE_GLUE, and goes on at "apply" (so that
 *           recovery and pacing go on with the values from before): it must not skip "apply".
 *   commit  (no fault) fault_run = 0; if the program writes Micros: micros_base_us = prim[NOW] - reg[MICROS].
 *   ssthresh (no fault, the program writes Ssthresh, reg[SSTHRESH] != prim[SSTHRESH])
 *           sk->snd_ssthresh = clamp(reg[SSTHRESH] / mss, 2, 0x7fffffff)
 *           if prr_cwnd != 0 (a reduction is in progress): reg[CWND] = max(reg[SSTHRESH], 2 * mss): its target, towards which PRR goes from the next ACK on
 *   report  (no fault, Report was said) MEASURE frame of `struct ccp_measure` + u64[n] + `struct ccp_measure_tail` into the ring (reserve with constant size).
 *           Accepted: ++reports (an atomic addition, so a full barrier), then submitted, without a wake-up if config.polling is 1; merged = 0,
 *           volatile registers to their defaults. Refused: ++merged, ++ring_full; volatile registers keep.
 *   apply   w = prr_cwnd ? prr_cwnd (which becomes 0) : clamp(reg[CWND] / mss, 1, min(snd_cwnd_clamp, CCP_MAX_CWND_PACKETS))          (64-bit; mss is never 0)
 *           where the upper bound holds: reg[CWND] = w * mss
 *           sk->snd_cwnd = applied_cwnd = w
 *           if reg[RATE] != 0: rate = min(max(reg[RATE], mss), sk_max_pacing_rate); if sk->sk_pacing_status == 0 { it = 1; flags |= CCP_F_PACING_SET }
 *           else               rate = min(mss * (w < snd_ssthresh / 2 ? pace_ss : pace_ca) * 80000 / srtt_us * max(w, packets_out), sk_max_pacing_rate)
 *           if rate != 0: sk->sk_pacing_rate = rate        (srtt_us 0: no rate)
 * "report" and "apply" may be in either order. Fields not named here belong to the glue.
 *
 * The kernel puts the value 8 bytes behind the start of a cache line (64 bytes).
 */
struct ccp_flow {
	/* The rest of the first line: looked at on every ACK. */
	__u32 program;          /* handle: index | serial << 16; 0 = none */
	__u32 due;              /* CCP_DUE_*; read together with `program` */
	__u32 applied_cwnd;     /* packets, last value written to snd_cwnd by us */
	__u32 looked_us;        /* low 32 bits of the time when the program last looked at what others write */
	__u32 look_after_us;    /* when it is to look again */
	__u32 prr_cwnd;         /* packets; 0 = PRR is not in charge */
	__u32 mss;              /* bytes, >= 1 */
	__u32 pace_ss;          /* as the kernel paces: percent of a window per RTT, below half of ssthresh */
	__u32 pace_ca;          /* ... and otherwise */
	__u32 fault_run;        /* faults in a row */
	__u32 flags;            /* CCP_F_* (codegen may only set CCP_F_PACING_SET and clear CCP_F_ECE) */
	__u32 epoch;            /* the last announced one; 0 = never announced */
	__u32 slot;
	__u32 seen_seq;         /* mailbox sequence last looked at */

	/* Second line: what was seen on the previous ACK. */
	__u64 last_bytes_acked;
	__u32 last_delivered;
	__u32 last_delivered_ce;
	__u32 last_lost;
	__u32 last_sacked_out;
	__u32 round_delivered; /* tp->delivered at which the next round starts */
	__u32 rounds;          /* counted while a program runs that reads them */
	__u64 micros_base_us;  /* CLOCK_MONOTONIC us at which Micros is 0 */
	__u64 bytes_lost;
	__u64 bytes_ce;
	__u64 bytes_delivered;

	/* Third line. */
	__u64 start_bytes_acked; /* tp->bytes_acked when the flow was taken */
	__u32 sock_id;         /* slot | incarnation << 16 */
	__u32 generation;
	__u32 program_uid;
	__u32 merged;          /* reports that did not fit since the last one that did */
	__u32 reports;         /* accepted by the ring */
	__u32 ring_full;
	__u32 faults;          /* in total */
	__u32 was_timeout;     /* 1 on the first ACK after an RTO */
	__u32 timeouts;
	__u32 mode;
	__u32 announced_us;    /* low 32 bits of the time of the last CREATE */
	__u32 prr_delivered;
	__u32 mark;            /* CCP_MARK_* of the announcement not yet answered */
	__u32 counted_faults;  /* part of `faults`, ... already added to the global counters */

	__u32 counted_ring_full;
	__u32 counted_reports;
	__u64 prim_mask;       /* primitives the program reads */
	__u64 waiting_us;      /* CLOCK_MONOTONIC us since when reports have not been handled; 0 = none are open */
	__u32 seen_reports;    /* `reports` when that was last looked at */
	__u32 netns_inum;      /* whose share of the slots the flow has */
	__u32 uid;
	__u32 told_faults;     /* part of `faults` that announcements before this generation's told of */
	__u32 new_faults;      /* those that this generation's tells of */
	__u32 refreshed_us;    /* low 32 bits of the time ccp_slot was last refreshed */
	__u32 refresh_after_us; /* when it is due again */
	__u32 reserved32;      /* 0 */
	__u64 reserved;        /* 0 */

	__u64 prim[CCP_MAX_PRIMITIVES];
	__u64 reg[CCP_MAX_REGISTERS];
};

/*
 * What a steered flow keeps in its socket (icsk_ca_priv) from one ordinary ACK to the next, so that they need no look-up: a copy of fields of ccp_flow and
 * of registers that is newer than they are. The low 32 bits of `mark` say who runs the flow (the handle of a program, whose bits 8 to 15 are free for the
 * following; native CUBIC, which uses the words before; 0: not settled, the glue looks) and what is valid here:
 *   CCP_HOT_FRAME  the fields from `cwnd` on. Whoever looks at the storage takes them back first (flow_of, or the program). So a program that finds this
 *                  bit knows that no callback of the glue has been at the flow.
 *   CCP_HOT_WORDS  `word`: registers of the program whose handle stands here, in places that only it knows. It writes them to the storage before it does
 *                  anything there, and before it gives way to the glue. If the program is gone, so are they: its successor begins with its own defaults.
 * Both are set by a program at the end of an invocation after which nothing is due, if its guards hold. With both set and its own handle a program looks at
 * this and the socket only, as long as the window in the socket is applied_cwnd, look_after_us have not passed since looked_us (then it looks at config and mailbox,
 * `looks` times before it lets the glue refresh the slot), the flow is in TCP_CA_Open (if the program reads that), nothing was lost or marked (if it reads that), and the
 * program neither reports nor faults. Otherwise it undoes what it has changed here, writes all of it to the storage, and begins anew there.
 */
#define CCP_HOT_REGISTERS 8
#define CCP_HOT_WORDS 256
#define CCP_HOT_FRAME 512
struct ccp_hot {
	__u64 word[CCP_HOT_REGISTERS];
	__u64 cwnd;            /* reg[CWND] */
	__u32 applied_cwnd;
	__u16 pace_ss;
	__u16 pace_ca;
	__u16 slot;
	__u16 seen_seq;        /* low bits */
	__u8 epoch;            /* low bits */
	__u8 looks;            /* how often the program may look before the slot is to be refreshed */
	__u16 look_after_us;
	__u32 last_bytes_acked; /* low bits */
	__u16 last_lost;       /* low bits: whether it has changed; the storage has its value */
	__u16 last_delivered_ce; /* likewise */
	__u32 mark;
	__u32 looked_us;
};
#define CCP_HOT_AT(member, offset) _Static_assert(__builtin_offsetof(struct ccp_hot, member) == offset, #member)
CCP_HOT_AT(word, 0);
CCP_HOT_AT(cwnd, 64);
CCP_HOT_AT(applied_cwnd, 72);
CCP_HOT_AT(pace_ss, 76);
CCP_HOT_AT(pace_ca, 78);
CCP_HOT_AT(slot, 80);
CCP_HOT_AT(seen_seq, 82);
CCP_HOT_AT(epoch, 84);
CCP_HOT_AT(looks, 85);
CCP_HOT_AT(look_after_us, 86);
CCP_HOT_AT(last_bytes_acked, 88);
CCP_HOT_AT(last_lost, 92);
CCP_HOT_AT(last_delivered_ce, 94);
CCP_HOT_AT(mark, 96);
CCP_HOT_AT(looked_us, 100);

/*
 * Mailbox slot: ARRAY + BPF_F_MMAPABLE, written by the daemon (one process, one writer per slot at a time), read on the ACK at which the flow looks.
 * Writer: seq odd; generation, program, values, their sequences; seq even. `x_seq` is "newer than seen" by signed 32-bit difference;
 * what must not be applied (again) has a sequence far in the past (seq - 2^30).
 */
#define CCP_FIELD_CWND 0
#define CCP_FIELD_RATE 1
#define CCP_FIELD_CONTROL 2
#define CCP_FIELDS (CCP_FIELD_CONTROL + CCP_MAX_CONTROL)
#define CCP_PROGRAM_ELSEWHERE 4294967295u /* instead of a handle: the kernel's algorithm whose name stands in value[0] and value[1] takes the flow */
struct ccp_mailbox {
	__u32 seq;
	__u32 generation;
	__u32 program; /* handle */
	__u32 program_seq;
	__u64 value[CCP_FIELDS];
	__u32 field_seq[CCP_FIELDS];
};

/* ARRAY, indexed by program index. The glue runs a program only while `handle` equals the flow's. */
struct ccp_program_meta {
	__u32 handle;  /* index | serial << 16; free if the index is 0: the serial is that of the last one */
	__u32 uid;
	__u32 flags;   /* CCP_PROGRAM_* */
	__u32 count;   /* registers from CCP_REG_CONTROL on that get a default when a flow starts the program */
	__u64 prim_mask;
	__u64 faults;  /* invocations without effect, of all flows (added by the glue, at least once per round) */
	__u64 defaults[CCP_MAX_REGISTERS - CCP_REG_CONTROL];
};

/* ARRAY + BPF_F_MMAPABLE, indexed by slot, written by the glue: what is known of the flow there (refreshed once per round and on changes). */
struct ccp_slot {
	__u32 sock_id;     /* valid while `live` */
	__u32 generation;  /* never goes back, also across flows of this slot */
	__u32 incarnation;
	__u32 live;        /* 1 while a flow owns the slot */
	__u32 mode;
	__u32 program_uid;
	__u32 snd_cwnd;    /* packets */
	__u32 mss;
	__u32 ca_state;
	__u32 srtt_us;
	__u32 min_rtt_us;
	__u32 faults;
	__u64 pacing_rate; /* bytes/s */
	__u64 bytes_sent;
	__u64 bytes_delivered;
	__u64 bytes_lost;
	__u32 netns_inum;
	__u32 reports;
	__u32 ring_full; /* reports refused by the ring, each merged into a later one */
	__u32 timeouts;
	__u32 family; /* AF_INET or AF_INET6 */
	__u32 reserved[7];
};

/* ARRAY[1] + BPF_F_MMAPABLE. */
#define CCP_CONFIG_STOPPING 1 /* flows hand themselves over to the system's cubic */
struct ccp_config {
	__u64 beat_ns;           /* CLOCK_MONOTONIC of the last heartbeat */
	__u64 fallback_after_ns;
	__u32 netns_inum;        /* inode of the only network namespace whose flows are taken; 0 = any */
	__u32 epoch;             /* never 0 once a daemon has started */
	__u32 flags;             /* CCP_CONFIG_* */
	__u32 max_flows;
	__u32 max_fault_run;     /* faults in a row after which the flow falls back; 0 = never */
	__u32 next_slot;         /* written by the glue: slots below were handed out at least once */
	__u32 unanswered_after_us; /* a flow whose reports are not handled for so long falls back by itself; 0 = never */
	__u32 initial_netns;     /* inode of the initial network namespace */
	__u32 max_per_namespace; /* slots that the flows of one other network namespace may have; 0 = any number */
	__u32 max_per_user;      /* slots that the flows of one user other than root may have; 0 = any number */
	__u32 polling;           /* 1 while the reader looks at the ring by itself: reports need not wake it. Written by the reader, see ring.rs */
	__u32 reserved;
};

/*
 * ARRAY + BPF_F_MMAPABLE of __u64, indexed by slot, written by the daemon: CLOCK_MONOTONIC us when the flow's task last came back from its work.
 * The glue takes any value; it decides only on whether a flow runs natively.
 */

/* HASH of __u32, how many slots the flows of one namespace or user have. */
#define CCP_SHARE_NAMESPACE 0
#define CCP_SHARE_USER 1
struct ccp_share {
	__u32 kind;
	__u32 id; /* inode of the namespace; uid in the initial user namespace */
};

/* SK_STORAGE: of flows that were taken without having asked, the algorithm that they had, which they get back. */
struct ccp_taken {
	char before[16];
};

/* PERCPU_ARRAY of __u64, indexed by: */
enum ccp_stat {
	CCP_STAT_FLOWS = 0,           /* flows that got a slot */
	CCP_STAT_CLOSED,              /* slots returned */
	CCP_STAT_NATIVE_NAMESPACE,    /* handed to cubic: another network namespace */
	CCP_STAT_NATIVE_LIMIT,        /* handed to cubic: no free slot */
	CCP_STAT_NATIVE_STOPPING,     /* handed to cubic: clean stop */
	CCP_STAT_NATIVE_MEMORY,       /* handed to cubic: no socket storage */
	CCP_STAT_HANDOVER_FAILED,     /* cubic refused: the socket runs native CUBIC inside the glue */
	CCP_STAT_SLOT_LEAKED,         /* the free list was busy */
	CCP_STAT_ANNOUNCED,           /* CREATE frames in the ring */
	CCP_STAT_ANNOUNCE_FULL,       /* CREATE frames that did not fit */
	CCP_STAT_CLOSE_FULL,          /* close frames that did not fit */
	CCP_STAT_UPDATES,             /* mailbox writes applied */
	CCP_STAT_REFUSED_GENERATION,  /* mailbox writes for an earlier generation */
	CCP_STAT_REFUSED_PROGRAM,     /* mailbox writes naming no program */
	CCP_STAT_TORN,                /* mailbox reads that met a writer (read again at the next look) */
	CCP_STAT_NO_PROGRAM,          /* the flow's program was removed under it */
	CCP_STAT_FALLBACKS,           /* running -> fallback: heartbeat too old */
	CCP_STAT_FAULT_FALLBACKS,     /* running -> fallback: faults in a row */
	CCP_STAT_FAULTS,
	CCP_STAT_REPORTS,
	CCP_STAT_RING_FULL,
	CCP_STAT_NATIVE_NAMESPACE_LIMIT, /* handed to cubic: its network namespace has its share of the slots */
	CCP_STAT_NATIVE_USER_LIMIT,      /* handed to cubic: its user has theirs */
	CCP_STAT_UNANSWERED,          /* running -> fallback: reports not handled */
	CCP_STAT_TAKEN_NEW,           /* taken without having asked, as they began */
	CCP_STAT_TAKEN_LIVING,        /* taken without having asked, under way */
	CCP_STAT_TAKE_LEFT,           /* would have been taken, but run an algorithm of their own choice */
	CCP_STAT_TAKE_REFUSED,        /* were to be taken, but the kernel or a limit refused */
	CCP_STATS,
};

/* ---- frames in the ring: ccp-wire's, little endian ---- */
#define CCP_MSG_CREATE 0
#define CCP_MSG_MEASURE 1

/* MEASURE = this, then __u64[n], then the tail. n = 0: the flow closed. */
struct ccp_measure {
	__u16 type;
	__u16 len; /* whole frame: 24 + 8 n */
	__u32 sock_id;
	__u32 program_uid;
	__u32 n;
};
struct ccp_measure_tail {
	__u32 generation;
	__u32 merged;
};

#define CCP_MARK_NEW 0
#define CCP_MARK_ADOPTED 1
#define CCP_MARK_RESUMED 2

_Static_assert(sizeof(struct ccp_flow) <= 1952, "socket storage must stay in the 2 KiB slab");
_Static_assert(sizeof(struct ccp_mailbox) == 256, "mailbox slot");
_Static_assert(sizeof(struct ccp_hot) == 104, "icsk_ca_priv");
_Static_assert(sizeof(struct ccp_slot) == 128, "slot");
_Static_assert(sizeof(struct ccp_config) == 64, "config");
_Static_assert(sizeof(struct ccp_measure) == 16 && sizeof(struct ccp_measure_tail) == 8, "frame");

#endif
