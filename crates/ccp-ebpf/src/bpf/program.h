/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* What happens before a program runs: the primitives of this ACK, the window that recovery allows, the daemon's updates. */
#ifndef CCP_PROGRAM_H
#define CCP_PROGRAM_H

#define RATE_PRIMITIVES (1ULL << CCP_PRIM_RATE_INCOMING | 1ULL << CCP_PRIM_RATE_OUTGOING)

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

/* The socket's values that a program's registers and epilogue are counted in. */
static __always_inline void load_basics(struct sock *sk, struct ccp_flow *f)
{
	struct tcp_sock *tp = (struct tcp_sock *)sk;

	f->mss = max_u32(tp->mss_cache, 1);
	f->cwnd_max = cwnd_max(tp);
	f->packets_out = tp->packets_out;
	f->max_pacing_rate = sk->sk_max_pacing_rate;
	f->pace_per_packet = pace_per_packet(sk, tp);
}

static __always_inline void load_primitives(struct sock *sk, struct ccp_flow *f, u64 now_us, bool ece, const struct rate_sample *rs)
{
	struct tcp_sock *tp = (struct tcp_sock *)sk;
	u32 delivered, ce, lost, sacked = tp->sacked_out, mss = f->mss, misordered, flight = in_flight(tp), cwnd = tp->snd_cwnd;
	u64 *p = f->prim, bytes_acked = tp->bytes_acked, newly_acked = bytes_acked - f->last_bytes_acked;
	s32 sample = rs->delivered, interval = rs->interval_us > 0;
	u32 srtt = tp->srtt_us, min_rtt = tp->rtt_min.s[0].v, ssthresh = tp->snd_ssthresh, acked = rs->acked_sacked;
	long rtt = rs->rtt_us;

	account(tp, f, &delivered, &ce, &lost);
	misordered = (s32)(sacked - f->last_sacked_out) > 0 ? sacked - f->last_sacked_out : 0;
	f->last_sacked_out = sacked;
	f->last_bytes_acked = bytes_acked;

	/* Facts of this ACK: also those of ACKs whose sample is invalid. */
	p[CCP_PRIM_BYTES_ACKED] = newly_acked;
	p[CCP_PRIM_BYTES_MISORDERED] = (u64)misordered * mss;
	p[CCP_PRIM_ECN_BYTES] = (u64)ce * mss;
	p[CCP_PRIM_ECN_PACKETS] = ce;
	p[CCP_PRIM_LOST_PKTS] = lost;
	p[CCP_PRIM_NOW] = now_us;
	p[CCP_PRIM_PACKETS_ACKED] = delivered > misordered ? delivered - misordered : 0;
	p[CCP_PRIM_PACKETS_MISORDERED] = misordered;
	p[CCP_PRIM_BYTES_IN_FLIGHT] = (u64)flight * mss;
	p[CCP_PRIM_BYTES_PENDING] = (u32)(tp->write_seq - tp->snd_nxt);
	p[CCP_PRIM_PACKETS_IN_FLIGHT] = flight;
	p[CCP_PRIM_WAS_TIMEOUT] = !!(f->flags & CCP_F_TIMEOUT);
	f->flags &= ~CCP_F_TIMEOUT;

	/* Measurements: the latest valid one is kept. */
	if (sample > 0 && interval) {
		if (f->prim_mask & RATE_PRIMITIVES) {
			u64 bytes = (u64)sample * mss * 1000000;
			u32 snd_us = rs->snd_interval_us, rcv_us = rs->rcv_interval_us;

			if (snd_us)
				p[CCP_PRIM_RATE_OUTGOING] = bytes / snd_us;
			if (rcv_us)
				p[CCP_PRIM_RATE_INCOMING] = bytes / rcv_us;
		}
		p[CCP_PRIM_APP_LIMITED] = rs->is_app_limited;
		if ((s32)(rs->prior_delivered - f->round_delivered) >= 0) {
			f->round_delivered = tp->delivered;
			f->rounds++;
		}
	}
	if (rtt >= 0)
		p[CCP_PRIM_RTT_SAMPLE_US] = rtt;

	p[CCP_PRIM_MSS] = mss;
	p[CCP_PRIM_SRTT_US] = srtt ? srtt >> 3 : ~0ULL;
	p[CCP_PRIM_MIN_RTT_US] = min_rtt == ~0U ? ~0ULL : min_rtt;
	/* As tcp_is_cwnd_limited: in slow start, while less than half of the window was in flight, it is the application that limits. */
	p[CCP_PRIM_CWND_LIMITED] = BPF_CORE_READ_BITFIELD(tp, is_cwnd_limited) || (cwnd < ssthresh && cwnd < 2 * tp->max_packets_out);
	p[CCP_PRIM_ROUND_COUNT] = f->rounds;
	p[CCP_PRIM_BYTES_SENT] = tp->bytes_sent;
	p[CCP_PRIM_BYTES_DELIVERED] = f->bytes_delivered;
	p[CCP_PRIM_BYTES_LOST] = f->bytes_lost;
	p[CCP_PRIM_BYTES_CE] = f->bytes_ce;
	p[CCP_PRIM_RECOVERY_STATE] = ca_state(sk);
	p[CCP_PRIM_SSTHRESH] = ssthresh >= TCP_INFINITE_SSTHRESH ? ~0ULL : (u64)ssthresh * mss;
	f->reg[CCP_REG_SSTHRESH] = p[CCP_PRIM_SSTHRESH];
	p[CCP_PRIM_ECE] = ece;
	p[CCP_PRIM_RTTVAR_US] = tp->mdev_us >> 2; /* rttvar_us is never less than what RTO's minimum needs */
	p[CCP_PRIM_BYTES_RETRANSMITTED] = tp->bytes_retrans;
	p[CCP_PRIM_PACING_RATE] = sk->sk_pacing_rate;
	p[CCP_PRIM_TIMEOUTS] = f->timeouts;
	p[CCP_PRIM_PACED] = sk->sk_pacing_status != SK_PACING_NONE;

	f->reg[CCP_REG_MICROS] = now_us - f->micros_base_us;

	f->prr_cwnd = 0;
	if (f->flags & CCP_F_REDUCING && !(f->flags & CCP_F_OWN_RECOVERY)) {
		u64 target = max_u64(min_u64(f->reg[CCP_REG_CWND] / mss, f->cwnd_max), 2);

		tp->snd_ssthresh = target;
		f->prr_cwnd = min_u32(prr(tp, f, target, acked, newly_acked > 0, rs->losses > 0), f->cwnd_max);
	}
}

/* The flow starts a program: variables at their defaults, the clock at 0; window and rate are kept, except that a flow that ran natively brings its own. */
static __always_inline void start_program(struct sock *sk, struct ccp_flow *f, struct ccp_program_meta *meta, u64 now_us)
{
	struct tcp_sock *tp = (struct tcp_sock *)sk;
	u32 n = min_u32(meta->count, CCP_MAX_REGISTERS - CCP_REG_CONTROL), i;

	for (i = 0; i < CCP_MAX_REGISTERS - CCP_REG_CONTROL; i++) {
		if (i >= n)
			break;
		f->reg[CCP_REG_CONTROL + i] = meta->defaults[i];
	}
	if (f->mode != CCP_MODE_RUNNING) {
		u32 delivered, ce, lost, cwnd = tp->snd_cwnd;

		mark_native(sk, false);
		f->applied_cwnd = cwnd;
		if (reduces(ca_state(sk))) {
			u32 ssthresh = tp->snd_ssthresh;

			barrier_var(ssthresh); /* or clang makes one load of the two, from either pointer */
			cwnd = ssthresh;
		}
		if (!(f->flags & CCP_F_CWND_PENDING))
			f->reg[CCP_REG_CWND] = (u64)cwnd * f->mss;
		account(tp, f, &delivered, &ce, &lost);
		/* last_bytes_acked stays at the ACK before: nobody has grown the window by this one yet. */
		f->last_sacked_out = tp->sacked_out;
		f->round_delivered = tp->delivered;
		f->prim[CCP_PRIM_RTT_SAMPLE_US] = tp->srtt_us ? tp->srtt_us >> 3 : ~0ULL;
		f->merged = 0;
		f->flags &= ~CCP_F_TIMEOUT;
	}
	f->flags &= ~(CCP_F_CWND_PENDING | CCP_F_OWN_RECOVERY | CCP_F_RESYNC);
	if (meta->flags & CCP_PROGRAM_OWN_RECOVERY)
		f->flags |= CCP_F_OWN_RECOVERY;
	f->micros_base_us = now_us;
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

/* Takes what the daemon wrote since the last look. Everything in the slot is checked here: user space can write anything into it. */
static __always_inline void read_mailbox(struct sock *sk, struct ccp_flow *f, u64 now_us)
{
	u32 slot = f->slot, seq, seen = f->seen_seq, i;
	struct ccp_mailbox *m = bpf_map_lookup_elem(&mailbox, &slot), mb;

	if (!m)
		return;
	seq = READ_ONCE(m->seq);
	if (seq == seen || seq & 1)
		return;
	barrier();
	mb = *m;
	barrier();
	if (READ_ONCE(m->seq) != seq) {
		count(CCP_STAT_TORN, 1);
		return;
	}
	f->seen_seq = seq;
	if (mb.generation != f->generation) {
		count(CCP_STAT_REFUSED_GENERATION, 1);
		return;
	}
	f->flags |= CCP_F_ANSWERED;
	f->mss = max_u32(((struct tcp_sock *)sk)->mss_cache, 1);
	if (newer(mb.program_seq, seen) && !mb.program) {
		/* The daemon has no algorithm for this flow. */
		if (f->mode == CCP_MODE_RUNNING)
			enter_native(sk, f);
		set_mode(f, CCP_MODE_NATIVE);
		f->flags &= ~(CCP_F_OWN_RECOVERY | CCP_F_CWND_PENDING);
		count(CCP_STAT_UPDATES, 1);
		return;
	}
	if (newer(mb.program_seq, seen)) {
		struct ccp_program_meta *meta = meta_of(mb.program);

		if (!meta) {
			count(CCP_STAT_REFUSED_PROGRAM, 1);
			return;
		}
		start_program(sk, f, meta, now_us);
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
}

#endif
