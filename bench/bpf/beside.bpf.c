// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * What our datapath is measured beside: an algorithm that does nothing (what remains is the cost of being called and of the measurement itself), and a
 * hand-written Reno and CUBIC with the same duties as ours on an ACK: growth, proportional rate reduction, pacing. Each under a name of its own. The Reno
 * counts bytes itself; the CUBIC has its curve from the kernel's functions, as whoever writes one by hand would.
 */
#include "kernel.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_tracing.h>

char LICENSE[] SEC("license") = "Dual BSD/GPL";

/* Words of icsk_ca_priv. */
#define CREDIT 0        /* bytes acknowledged towards the next packet of window */
#define PRR_DELIVERED 1 /* packets delivered since the reduction began */
#define LAST_ACKED 2    /* tp->bytes_acked on the previous ACK */
/* The same behind the 60 bytes that the kernel's CUBIC uses. */
#define CUBIC_PRR_DELIVERED 8
#define CUBIC_LAST_ACKED 9

static __always_inline u64 *priv(struct sock *sk)
{
	return ((struct inet_connection_sock *)sk)->icsk_ca_priv;
}

static __always_inline u8 ca_state(struct sock *sk)
{
	struct inet_connection_sock *icsk = (struct inet_connection_sock *)sk;

	return BPF_CORE_READ_BITFIELD(icsk, icsk_ca_state);
}

static __always_inline u32 max_u32(u32 a, u32 b)
{
	return a > b ? a : b;
}

static __always_inline u32 min_u32(u32 a, u32 b)
{
	return a < b ? a : b;
}

SEC("struct_ops")
u32 BPF_PROG(beside_ssthresh, struct sock *sk)
{
	return max_u32(((struct tcp_sock *)sk)->snd_cwnd / 2, 2);
}

SEC("struct_ops")
u32 BPF_PROG(beside_undo_cwnd, struct sock *sk)
{
	struct tcp_sock *tp = (struct tcp_sock *)sk;

	return max_u32(tp->snd_cwnd, tp->prior_cwnd);
}

/* A window that keeps the measured paths busy. */
SEC("struct_ops")
void BPF_PROG(empty_init, struct sock *sk)
{
	((struct tcp_sock *)sk)->snd_cwnd = 200;
}

SEC("struct_ops")
void BPF_PROG(empty_cong_control, struct sock *sk, u32 ack, int flag, const struct rate_sample *rs)
{
}

SEC("struct_ops")
void BPF_PROG(reno_init, struct sock *sk)
{
	u64 *p = priv(sk);

	p[CREDIT] = 0;
	p[PRR_DELIVERED] = 0;
	p[LAST_ACKED] = ((struct tcp_sock *)sk)->bytes_acked;
}

SEC("struct_ops")
void BPF_PROG(reno_set_state, struct sock *sk, u8 state)
{
	struct tcp_sock *tp = (struct tcp_sock *)sk;
	u8 old = ca_state(sk);
	bool was = old == TCP_CA_CWR || old == TCP_CA_Recovery, is = state == TCP_CA_CWR || state == TCP_CA_Recovery;

	if (is && !was)
		priv(sk)[PRR_DELIVERED] = 0;
	else if (was && state <= TCP_CA_Disorder && tp->snd_ssthresh < TCP_INFINITE_SSTHRESH)
		tp->snd_cwnd = tp->snd_ssthresh;
}

/* RFC 6937, from its text. */
static __always_inline u32 reduced(struct tcp_sock *tp, u64 *sum, u32 acked, bool advanced, bool losses)
{
	u32 pipe = tp->packets_out - tp->sacked_out - tp->lost_out + tp->retrans_out, target = tp->snd_ssthresh;
	s32 out = tp->prr_out, send;
	u32 delivered = *sum + acked;

	if (!acked)
		return tp->snd_cwnd;
	*sum = delivered;
	if (pipe > target) {
		u32 prior = max_u32(tp->prior_cwnd, 1);

		send = (s32)(((u64)target * delivered + prior - 1) / prior) - out;
	} else {
		s32 room = target - pipe;

		send = (s32)delivered - out;
		if (send < (s32)acked)
			send = acked;
		if (advanced && !losses)
			send++;
		if (send > room)
			send = room;
	}
	if (send < (out ? 0 : 1))
		send = out ? 0 : 1;
	return max_u32(pipe + send, 1);
}

static __always_inline void pace(struct sock *sk, u32 cwnd)
{
	struct tcp_sock *tp = (struct tcp_sock *)sk;
	u32 srtt = tp->srtt_us, ssthresh = tp->snd_ssthresh;
	struct net *net = sk->__sk_common.skc_net.net;
	u32 percent = cwnd < ssthresh / 2 ? net->ipv4.sysctl_tcp_pacing_ss_ratio : net->ipv4.sysctl_tcp_pacing_ca_ratio;
	u64 rate;

	if (!srtt)
		return;
	/* srtt_us is in eighths of a microsecond */
	rate = (u64)max_u32(tp->mss_cache, 1) * 80000 * percent / srtt * max_u32(cwnd, tp->packets_out);
	if (rate > sk->sk_max_pacing_rate)
		rate = sk->sk_max_pacing_rate;
	sk->sk_pacing_rate = rate;
}

SEC("struct_ops")
void BPF_PROG(reno_cong_control, struct sock *sk, u32 ack, int flag, const struct rate_sample *rs)
{
	struct tcp_sock *tp = (struct tcp_sock *)sk;
	u64 *p = priv(sk), bytes = tp->bytes_acked, newly = bytes - p[LAST_ACKED];
	u32 cwnd = tp->snd_cwnd, ssthresh = tp->snd_ssthresh, mss = max_u32(tp->mss_cache, 1);
	u8 state = ca_state(sk);

	p[LAST_ACKED] = bytes;
	if (state == TCP_CA_CWR || state == TCP_CA_Recovery) {
		cwnd = reduced(tp, &p[PRR_DELIVERED], rs->acked_sacked, newly > 0, rs->losses > 0);
	} else if (newly && (BPF_CORE_READ_BITFIELD(tp, is_cwnd_limited) || (cwnd < ssthresh && cwnd < 2 * tp->max_packets_out))) {
		if (cwnd < ssthresh) {
			cwnd = min_u32(cwnd + newly / mss, ssthresh);
		} else {
			u64 credit = p[CREDIT] + newly, window = (u64)cwnd * mss;

			if (credit >= window) {
				credit -= window;
				cwnd++;
			}
			p[CREDIT] = credit;
		}
	}
	cwnd = min_u32(cwnd, tp->snd_cwnd_clamp);
	tp->snd_cwnd = cwnd;
	pace(sk, cwnd);
}

SEC("struct_ops")
void BPF_PROG(cubic_init, struct sock *sk)
{
	u64 *p = priv(sk);

	p[CUBIC_PRR_DELIVERED] = 0;
	p[CUBIC_LAST_ACKED] = ((struct tcp_sock *)sk)->bytes_acked;
	cubictcp_init(sk);
}

SEC("struct_ops")
u32 BPF_PROG(cubic_ssthresh, struct sock *sk)
{
	return cubictcp_recalc_ssthresh(sk);
}

SEC("struct_ops")
void BPF_PROG(cubic_set_state, struct sock *sk, u8 state)
{
	struct tcp_sock *tp = (struct tcp_sock *)sk;
	u8 old = ca_state(sk);
	bool was = old == TCP_CA_CWR || old == TCP_CA_Recovery, is = state == TCP_CA_CWR || state == TCP_CA_Recovery;

	cubictcp_state(sk, state);
	if (is && !was)
		priv(sk)[CUBIC_PRR_DELIVERED] = 0;
	else if (was && state <= TCP_CA_Disorder && tp->snd_ssthresh < TCP_INFINITE_SSTHRESH)
		tp->snd_cwnd = tp->snd_ssthresh;
}

SEC("struct_ops")
void BPF_PROG(cubic_cwnd_event, struct sock *sk, enum tcp_ca_event event)
{
	cubictcp_cwnd_event(sk, event);
}

SEC("struct_ops")
void BPF_PROG(cubic_pkts_acked, struct sock *sk, const struct ack_sample *sample)
{
	cubictcp_acked(sk, sample);
}

SEC("struct_ops")
void BPF_PROG(cubic_cong_control, struct sock *sk, u32 ack, int flag, const struct rate_sample *rs)
{
	struct tcp_sock *tp = (struct tcp_sock *)sk;
	u64 *p = priv(sk), bytes = tp->bytes_acked, newly = bytes - p[CUBIC_LAST_ACKED];
	u32 clamp = tp->snd_cwnd_clamp;
	u8 state = ca_state(sk);

	p[CUBIC_LAST_ACKED] = bytes;
	if (state == TCP_CA_CWR || state == TCP_CA_Recovery)
		tp->snd_cwnd = reduced(tp, &p[CUBIC_PRR_DELIVERED], rs->acked_sacked, newly > 0, rs->losses > 0);
	else if (newly)
		cubictcp_cong_avoid(sk, ack, rs->acked_sacked);
	if (tp->snd_cwnd > clamp)
		tp->snd_cwnd = clamp;
	pace(sk, tp->snd_cwnd);
}

/* The loader gives each a name of its own. Sockets in any namespace may ask for them. */
SEC(".struct_ops.link")
struct tcp_congestion_ops empty_ops = {
	.init = (void *)empty_init,
	.ssthresh = (void *)beside_ssthresh,
	.undo_cwnd = (void *)beside_undo_cwnd,
	.cong_control = (void *)empty_cong_control,
	.flags = TCP_CONG_NON_RESTRICTED,
	.name = "beside_empty",
};

SEC(".struct_ops.link")
struct tcp_congestion_ops reno_ops = {
	.init = (void *)reno_init,
	.ssthresh = (void *)beside_ssthresh,
	.set_state = (void *)reno_set_state,
	.undo_cwnd = (void *)beside_undo_cwnd,
	.cong_control = (void *)reno_cong_control,
	.flags = TCP_CONG_NON_RESTRICTED,
	.name = "beside_reno",
};

SEC(".struct_ops.link")
struct tcp_congestion_ops cubic_ops = {
	.init = (void *)cubic_init,
	.ssthresh = (void *)cubic_ssthresh,
	.set_state = (void *)cubic_set_state,
	.cwnd_event = (void *)cubic_cwnd_event,
	.pkts_acked = (void *)cubic_pkts_acked,
	.undo_cwnd = (void *)beside_undo_cwnd,
	.cong_control = (void *)cubic_cong_control,
	.flags = TCP_CONG_NON_RESTRICTED,
	.name = "beside_cubic",
};
