/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * What the kernel does for an algorithm without cong_control, and no longer does for ours: proportional rate reduction and the pacing rate. And
 * native CUBIC by the kernel's own functions, for flows that no program steers.
 */
#ifndef CCP_NATIVE_H
#define CCP_NATIVE_H

/* ccp_hot.mark of a flow that native CUBIC runs. The index of a program, its lowest byte, is never 0. */
#define NATIVE_MARK 0x63637000

static __always_inline bool runs_native(struct sock *sk)
{
	return hot_of(sk)->mark == NATIVE_MARK;
}

static __always_inline void mark_native(struct sock *sk, bool native)
{
	hot_of(sk)->mark = native ? NATIVE_MARK : 0;
}

static __always_inline void mark_program(struct sock *sk, u32 handle)
{
	hot_of(sk)->mark = handle;
}

static __always_inline u8 ca_state(struct sock *sk)
{
	struct inet_connection_sock *icsk = (struct inet_connection_sock *)sk;

	return BPF_CORE_READ_BITFIELD(icsk, icsk_ca_state);
}

static __always_inline bool reduces(u8 state)
{
	return state == TCP_CA_CWR || state == TCP_CA_Recovery;
}

static __always_inline u32 in_flight(struct tcp_sock *tp)
{
	return tp->packets_out - tp->sacked_out - tp->lost_out + tp->retrans_out;
}

static __always_inline u32 cwnd_max(struct tcp_sock *tp)
{
	return max_u32(min_u32(tp->snd_cwnd_clamp, CCP_MAX_CWND_PACKETS), 1);
}

/* The window in packets that takes the flow to `target` (RFC 6937, as Linux computes it). `acked`: packets newly delivered by this ACK. */
static __always_inline u32 prr(struct tcp_sock *tp, struct ccp_flow *f, u32 target, u32 acked, bool una_advanced, bool new_losses)
{
	u32 flight = in_flight(tp), prior = max_u32(tp->prior_cwnd, 1);
	s32 out = tp->prr_out, send;

	if (!acked)
		return max_u32(tp->snd_cwnd, 1);
	f->prr_delivered += acked;
	if ((s32)(target - flight) < 0) {
		send = (s32)(((u64)target * f->prr_delivered + prior - 1) / prior) - out;
	} else {
		send = (s32)f->prr_delivered - out;
		if (send < (s32)acked)
			send = acked;
		if (una_advanced && !new_losses)
			send++;
		if (send > (s32)(target - flight))
			send = target - flight;
	}
	if (send < (out ? 0 : 1))
		send = out ? 0 : 1;
	return max_u32(flight + send, 1);
}

/* Bytes/s per packet of window at which the kernel paces: 200 % of a window per smoothed RTT below half of ssthresh, else 120 % (both sysctls). */
static __always_inline u64 pace_per_packet(struct sock *sk, struct tcp_sock *tp)
{
	struct net *net = sk->__sk_common.skc_net.net;
	u32 srtt = tp->srtt_us;
	int percent;

	if (!srtt)
		return 0;
	percent = tp->snd_cwnd < tp->snd_ssthresh / 2 ? net->ipv4.sysctl_tcp_pacing_ss_ratio : net->ipv4.sysctl_tcp_pacing_ca_ratio;
	/* srtt_us is in eighths of a microsecond; 80000 = 8 * 10^6 us / 100 % */
	return (u64)tp->mss_cache * 80000 * (u32)percent / srtt;
}

/*
 * The kernel counts deliveries in packets, which need not be full; acknowledged bytes are exact, so that only what is selectively acknowledged is taken for
 * full packets.
 */
static __always_inline void account_delivered(struct tcp_sock *tp, struct ccp_flow *f)
{
	f->bytes_delivered = max_u64(f->bytes_delivered, tp->bytes_acked - f->start_bytes_acked + (u64)tp->sacked_out * f->mss);
}

/* What was delivered, lost and marked since the last time, but for what a program that reads `prim_mask` counts on each ACK. */
static __always_inline void account_rest(struct tcp_sock *tp, struct ccp_flow *f, u64 prim_mask)
{
	u32 ce = tp->delivered_ce, lost = tp->lost, mss = f->mss;

	if (!(prim_mask & CCP_COUNTS_MARKS)) {
		f->bytes_ce += (u64)(ce - f->last_delivered_ce) * mss;
		f->last_delivered_ce = ce;
	}
	if (!(prim_mask & CCP_COUNTS_LOSSES)) {
		f->bytes_lost += (u64)(lost - f->last_lost) * mss;
		f->last_lost = lost;
	}
	account_delivered(tp, f);
}

static __always_inline void account(struct tcp_sock *tp, struct ccp_flow *f)
{
	account_rest(tp, f, 0);
}

static __always_inline void start_cubic(struct sock *sk)
{
	cubictcp_init(sk);
	mark_native(sk, true);
}

/* Of a window: the threshold after a pause, up to which slow start leads back. */
static __always_inline u32 three_quarters(u32 cwnd)
{
	return (cwnd >> 1) + (cwnd >> 2);
}

/* A program's flow becomes native CUBIC's, from the present window. */
static __always_inline void enter_native(struct sock *sk, struct ccp_flow *f)
{
	struct tcp_sock *tp = (struct tcp_sock *)sk;
	u8 state = ca_state(sk);

	if (state != TCP_CA_Loss) {
		/* Otherwise CUBIC would slow-start from here. In a reduction the window is on its way to the program's target. */
		u64 target = tp->snd_cwnd;

		/* Closed by a pause, and no program has seen it. */
		target = max_u64(target, three_quarters(f->applied_cwnd));
		if (reduces(state) && f->mss)
			target = f->reg[CCP_REG_CWND] / f->mss;
		tp->snd_ssthresh = max_u32(min_u64(target, cwnd_max(tp)), 2);
	}
	start_cubic(sk);
}

/* One ACK of a flow under native CUBIC. */
static __always_inline void native_ack(struct sock *sk, struct ccp_flow *f, u32 ack, bool data_acked, const struct rate_sample *rs)
{
	struct tcp_sock *tp = (struct tcp_sock *)sk;
	u64 bytes_acked = tp->bytes_acked, rate;
	u32 acked = rs->acked_sacked;
	struct ack_sample sample = { .rtt_us = rs->rtt_us };

	/* HyStart and CUBIC's delay; the kernel does it in a callback of its own, just before, which would cost flows with a program too. */
	if (sample.rtt_us >= 0)
		cubictcp_acked(sk, &sample);
	if (reduces(ca_state(sk)))
		tp->snd_cwnd = min_u32(prr(tp, f, tp->snd_ssthresh, acked, bytes_acked != f->last_bytes_acked, rs->losses > 0), cwnd_max(tp));
	else if (data_acked)
		cubictcp_cong_avoid(sk, ack, acked);
	f->last_bytes_acked = bytes_acked;
	/* The kernel has answered it; it is not for a program that may follow much later. */
	f->flags &= ~CCP_F_ECE;

	rate = pace_per_packet(sk, tp) * max_u32(tp->snd_cwnd, tp->packets_out);
	if (rate)
		sk->sk_pacing_rate = min_u64(rate, sk->sk_max_pacing_rate);
}

/*
 * The first packet after a pause: the kernel closes the window by half per RTO of silence (RFC 2861), but not for algorithms with cong_control. Our flows get
 * it from here, except those whose program keeps its window.
 */
#define INITIAL_WINDOW 10

static __always_inline u32 idle_jiffies(struct tcp_sock *tp)
{
	return (u32)bpf_jiffies64() - tp->lsndtime;
}

static __always_inline bool was_idle(struct sock *sk)
{
	struct tcp_sock *tp = (struct tcp_sock *)sk;
	struct net *net = sk->__sk_common.skc_net.net;
	u32 rto = ((struct inet_connection_sock *)sk)->icsk_rto;

	return rto && (s32)idle_jiffies(tp) > (s32)rto && !tp->packets_out && net->ipv4.sysctl_tcp_slow_start_after_idle;
}

static __always_inline void restart_after_idle(struct sock *sk)
{
	struct tcp_sock *tp = (struct tcp_sock *)sk;
	u32 rto = ((struct inet_connection_sock *)sk)->icsk_rto, cwnd = tp->snd_cwnd, least = min_u32(INITIAL_WINDOW, cwnd);
	u32 idle = idle_jiffies(tp);
	int i;

	if (!reduces(ca_state(sk)))
		tp->snd_ssthresh = max_u32(tp->snd_ssthresh, three_quarters(cwnd));
	for (i = 0; i < 20 && idle > rto && cwnd > least; i++) {
		idle -= rto;
		cwnd >>= 1;
	}
	tp->snd_cwnd = max_u32(cwnd, least);
}

#endif
