/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* What happens before a program runs: the primitives of this ACK, the window that recovery allows, the daemon's updates. */
#ifndef CCP_PROGRAM_H
#define CCP_PROGRAM_H

/* Takes the register over from the socket if somebody other than us set the window (RTO, undo, MTU probe). */
static __always_inline void sync_cwnd(struct tcp_sock *tp, struct ccp_flow *f)
{
	u32 cwnd = tp->snd_cwnd;

	if ((cwnd == f->applied_cwnd && !(f->flags & CCP_F_RESYNC)) || f->flags & CCP_F_OWN_RECOVERY)
		return;
	f->reg[CCP_REG_CWND] = (u64)cwnd * f->mss;
	f->applied_cwnd = cwnd;
	f->flags &= ~CCP_F_RESYNC;
}

/* What a program does not do by itself: the way of a timeout, recovery, how the kernel would pace. */
static __always_inline void prepare(struct sock *sk, struct ccp_flow *f, const struct rate_sample *rs)
{
	struct tcp_sock *tp = (struct tcp_sock *)sk;
	struct net *net = sk->__sk_common.skc_net.net;
	u32 acked = rs->acked_sacked;

	f->mss = max_u32(tp->mss_cache, 1);
	sync_cwnd(tp, f);
	f->pace_ss = min_u32(net->ipv4.sysctl_tcp_pacing_ss_ratio, CCP_MAX_PACING_PERCENT);
	f->pace_ca = min_u32(net->ipv4.sysctl_tcp_pacing_ca_ratio, CCP_MAX_PACING_PERCENT);
	f->was_timeout = !!(f->flags & CCP_F_TIMEOUT);
	/* Both are dealt with, also where a program that keeps its window takes nothing over: or each of its ACKs would be the glue's first. */
	f->flags &= ~(CCP_F_TIMEOUT | CCP_F_RESYNC);
	f->prr_cwnd = 0;
	if (f->flags & CCP_F_REDUCING && !(f->flags & CCP_F_OWN_RECOVERY)) {
		u32 max = cwnd_max(tp);
		u64 target = max_u64(min_u64(f->reg[CCP_REG_CWND] / f->mss, max), 2);

		tp->snd_ssthresh = target;
		f->prr_cwnd = min_u32(prr(tp, f, target, acked, tp->bytes_acked != f->last_bytes_acked, rs->losses > 0), max);
	}
	f->looked_us = tp->tcp_mstamp;
	f->due = CCP_DUE_PASSED | (f->flags & CCP_F_GLUE || f->fault_run ? CCP_DUE_GLUE : 0);
}

/* The flow starts a program: variables at their defaults, the clock at 0; window and rate are kept, except that a flow that ran natively brings its own. */
static __always_inline void start_program(struct sock *sk, struct ccp_flow *f, struct ccp_program_meta *meta, const struct rate_sample *rs, u64 now_us)
{
	struct tcp_sock *tp = (struct tcp_sock *)sk;
	u64 counted = f->mode == CCP_MODE_RUNNING ? f->prim_mask : 0; /* by the program before */
	u32 n = min_u32(meta->count, CCP_MAX_REGISTERS - CCP_REG_CONTROL), i;

	for (i = 0; i < CCP_MAX_REGISTERS - CCP_REG_CONTROL; i++) {
		if (i >= n)
			break;
		f->reg[CCP_REG_CONTROL + i] = meta->defaults[i];
	}
	if (f->mode != CCP_MODE_RUNNING) {
		u32 cwnd = tp->snd_cwnd;

		mark_native(sk, false);
		f->applied_cwnd = cwnd;
		if (reduces(ca_state(sk))) {
			u32 ssthresh = tp->snd_ssthresh;

			barrier_var(ssthresh); /* or clang makes one load of the two, from either pointer */
			cwnd = ssthresh;
		}
		if (!(f->flags & CCP_F_CWND_PENDING))
			f->reg[CCP_REG_CWND] = (u64)cwnd * f->mss;
		f->round_delivered = tp->delivered;
		f->merged = 0;
		f->flags &= ~(CCP_F_TIMEOUT | CCP_F_RESYNC);
	}
	/* last_bytes_acked stays at the ACK before: nobody has grown the window by this one yet. */
	account_rest(tp, f, counted);
	if (!(counted & CCP_COUNTS_DELIVERIES)) {
		u32 sacked = tp->sacked_out, acked = rs->acked_sacked;

		/* The packets of this ACK count as well, where it is sure that they came in order. */
		f->last_delivered = tp->delivered - (sacked ? 0 : acked);
		f->last_sacked_out = sacked;
	}
	if (!(counted & 1ULL << CCP_PRIM_RTT_SAMPLE_US))
		f->prim[CCP_PRIM_RTT_SAMPLE_US] = tp->srtt_us ? tp->srtt_us >> 3 : ~0ULL;
	/* A reduction undone on this very ACK is the next program's affair too. */
	f->flags &= ~(CCP_F_CWND_PENDING | CCP_F_OWN_RECOVERY);
	if (meta->flags & CCP_PROGRAM_OWN_RECOVERY)
		f->flags |= CCP_F_OWN_RECOVERY;
	f->micros_base_us = now_us;
	if (meta->prim_mask & ~f->prim_mask & 1ULL << CCP_PRIM_ROUND_COUNT)
		f->round_delivered = tp->delivered;
	f->prim_mask = meta->prim_mask;
	f->program = meta->handle;
	f->program_uid = meta->uid;
	f->fault_run = 0;
	set_mode(f, CCP_MODE_RUNNING);
}

static __always_inline struct ccp_program_meta *meta_of(u32 handle)
{
	u32 index = handle & (CCP_MAX_PROGRAMS - 1);
	struct ccp_program_meta *meta = bpf_map_lookup_elem(&program_meta, &index);

	return meta && handle && meta->handle == handle ? meta : NULL;
}

static __always_inline bool newer(u32 seq, u32 than)
{
	return (s32)(seq - than) > 0;
}

#define MAILBOX_TRIES 8

/*
 * Takes what the daemon wrote since the last look. Everything in the slot is checked here: user space can write anything into it. True if the flow was
 * handed to another algorithm: it is no longer ours, nor is `f`.
 */
static __always_inline bool read_mailbox(struct sock *sk, struct ccp_flow *f, const struct rate_sample *rs, u64 now_us)
{
	u32 slot = f->slot, seq, seen = f->seen_seq, i;
	struct ccp_mailbox *m = bpf_map_lookup_elem(&mailbox, &slot), mb;

	if (!m)
		return false;
	/* A writer is done in nanoseconds: a few tries meet it less often than one. */
	for (i = 0; i < MAILBOX_TRIES; i++) {
		seq = READ_ONCE(m->seq);
		if (seq == seen)
			return false;
		if (seq & 1)
			continue;
		barrier();
		mb = *m;
		barrier();
		if (READ_ONCE(m->seq) == seq)
			break;
	}
	if (i == MAILBOX_TRIES) {
		if (!(seq & 1))
			count(CCP_STAT_TORN, 1);
		return false;
	}
	f->seen_seq = seq;
	if (mb.generation != f->generation) {
		count(CCP_STAT_REFUSED_GENERATION, 1);
		return false;
	}
	f->flags |= CCP_F_ANSWERED;
	f->mss = max_u32(((struct tcp_sock *)sk)->mss_cache, 1);
	if (newer(mb.program_seq, seen) && mb.program == CCP_PROGRAM_ELSEWHERE) {
		/* Names end with a zero or after 15 bytes. */
		if (!bpf_setsockopt(sk, IPPROTO_TCP, TCP_CONGESTION, mb.value, 16)) {
			count(CCP_STAT_UPDATES, 1);
			return true;
		}
		/* There is no such algorithm (any more). */
		count(CCP_STAT_HANDOVER_FAILED, 1);
		mb.program = 0;
	}
	if (newer(mb.program_seq, seen) && !mb.program) {
		/* The daemon has no algorithm for this flow. */
		if (f->mode == CCP_MODE_RUNNING)
			enter_native(sk, f);
		set_mode(f, CCP_MODE_NATIVE);
		f->flags &= ~(CCP_F_OWN_RECOVERY | CCP_F_CWND_PENDING);
		count(CCP_STAT_UPDATES, 1);
		return false;
	}
	if (newer(mb.program_seq, seen)) {
		struct ccp_program_meta *meta = meta_of(mb.program);

		if (!meta) {
			count(CCP_STAT_REFUSED_PROGRAM, 1);
			return false;
		}
		start_program(sk, f, meta, rs, now_us);
	}
	if (newer(mb.field_seq[CCP_FIELD_CWND], seen)) {
		f->reg[CCP_REG_CWND] = max_u64(min_u64(mb.value[CCP_FIELD_CWND], (u64)CCP_MAX_CWND_PACKETS * f->mss), f->mss);
		f->flags |= f->mode == CCP_MODE_RUNNING ? 0 : CCP_F_CWND_PENDING;
	}
	if (newer(mb.field_seq[CCP_FIELD_RATE], seen))
		f->reg[CCP_REG_RATE] = mb.value[CCP_FIELD_RATE];
	for (i = 0; i < CCP_MAX_CONTROL; i++)
		if (newer(mb.field_seq[CCP_FIELD_CONTROL + i], seen))
			f->reg[CCP_REG_CONTROL + i] = mb.value[CCP_FIELD_CONTROL + i];
	count(CCP_STAT_UPDATES, 1);
	return false;
}

#endif
