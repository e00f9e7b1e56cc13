// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * The glue: a TCP congestion control that runs each flow's generated program, or native CUBIC where there is none.
 *
 * Who runs a flow: a program, once the daemon chose one through the mailbox and as long as its heartbeat is fresh; otherwise native CUBIC by the kernel's own
 * functions from the present window. Flows of other network namespaces, and flows beyond the number of slots, are handed to the system's CUBIC in init.
 */
#include "kernel.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_tracing.h>
#include "intf.h"
#include "maps.h"
#include "native.h"
#include "announce.h"
#include "answers.h"
#include "shares.h"
#include "program.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

/*
 * Makes the socket really native: gives it back what it had when it was taken, or the system's CUBIC if it asked for us. Our release is called for it, except
 * from init. In init of a flow that is being taken the kernel refuses: then who takes it sees that it has no slot, and gives it back.
 */
static __always_inline long hand_over(struct sock *sk)
{
	struct ccp_taken *t = bpf_sk_storage_get(&taken, sk, NULL, 0);
	char name[16] = "cubic";
	long err = -1;

	if (t)
		err = bpf_setsockopt(sk, IPPROTO_TCP, TCP_CONGESTION, t->before, sizeof(t->before));
	if (err)
		err = bpf_setsockopt(sk, IPPROTO_TCP, TCP_CONGESTION, name, sizeof(name));
	if (err && !t)
		count(CCP_STAT_HANDOVER_FAILED, 1);
	return err;
}

/* The ACK of a SYN counts one byte, and with TCP Fast Open a segment. */
static __always_inline bool has_history(struct tcp_sock *tp)
{
	return tp->bytes_acked > tp->mss_cache;
}

/* Zeroed storage: the socket may have been ours before. */
static __always_inline struct ccp_flow *fresh_storage(struct sock *sk)
{
	bpf_sk_storage_delete(&flows, sk);
	return bpf_sk_storage_get(&flows, sk, NULL, BPF_SK_STORAGE_GET_F_CREATE);
}

/* For sockets that we cannot steer and cannot hand over either: native CUBIC without a slot. */
static __always_inline void run_without_slot(struct sock *sk)
{
	struct ccp_flow *f = fresh_storage(sk);

	start_cubic(sk);
	if (f) {
		f->slot = CCP_NO_SLOT;
		f->mode = CCP_MODE_FALLBACK;
	}
}

SEC("struct_ops")
void BPF_PROG(ccp_init, struct sock *sk)
{
	struct tcp_sock *tp = (struct tcp_sock *)sk;
	struct ccp_config *cfg = the_config();
	u32 why = CCP_STAT_NATIVE_MEMORY, netns = netns_of(sk), uid = sk->sk_uid.val, slot, now_us;
	struct ccp_flow *f;
	struct ccp_slot *s;
	u64 now;

	if (!cfg)
		goto native;
	if (cfg->flags & CCP_CONFIG_STOPPING) {
		why = CCP_STAT_NATIVE_STOPPING;
		goto native;
	}
	if (cfg->netns_inum && cfg->netns_inum != netns) {
		why = CCP_STAT_NATIVE_NAMESPACE;
		goto native;
	}
	if (!take_shares(cfg, netns, uid, &why))
		goto native;
	f = fresh_storage(sk);
	if (!f) {
		give_shares(netns, uid);
		goto native;
	}
	slot = take_slot(cfg);
	s = bpf_map_lookup_elem(&slots, &slot);
	if (!s) {
		bpf_sk_storage_delete(&flows, sk);
		give_shares(netns, uid);
		why = CCP_STAT_NATIVE_LIMIT;
		goto native;
	}

	now = bpf_ktime_get_ns();
	now_us = now / 1000;
	s->incarnation++;
	f->slot = slot;
	f->sock_id = slot | s->incarnation << 16;
	f->mss = max_u32(tp->mss_cache, 1);
	f->applied_cwnd = tp->snd_cwnd;
	f->reg[CCP_REG_CWND] = (u64)tp->snd_cwnd * f->mss;
	f->prim[CCP_PRIM_RTT_SAMPLE_US] = ~0ULL;
	f->last_delivered_ce = tp->delivered_ce;
	f->last_lost = tp->lost;
	f->last_bytes_acked = f->start_bytes_acked = tp->bytes_acked;
	f->mode = CCP_MODE_FALLBACK;
	f->netns_inum = netns;
	f->uid = uid;
	s->sock_id = f->sock_id;
	s->netns_inum = netns;
	s->family = sk->__sk_common.skc_family;
	s->live = 1;
	count(CCP_STAT_FLOWS, 1);

	/* A socket that was running something else goes on from its window and ssthresh, as with any change of algorithm. */
	start_cubic(sk);
	if (reduces(ca_state(sk)))
		f->flags |= CCP_F_REDUCING;
	if ((s64)(now - cfg->beat_ns) <= (s64)cfg->fallback_after_ns)
		new_generation(sk, f, cfg, has_history(tp) ? CCP_MARK_ADOPTED : CCP_MARK_NEW, now_us);
	else
		refresh_slot(sk, f, s, now_us);
	return;

native:
	count(why, 1);
	if (hand_over(sk))
		run_without_slot(sk);
}

SEC("struct_ops")
void BPF_PROG(ccp_release, struct sock *sk)
{
	struct tcp_sock *tp = (struct tcp_sock *)sk;
	struct ccp_flow *f = flow_of(sk);
	struct ccp_slot *s;
	u32 slot;

	if (!f)
		return;
	/* The next algorithm, if one follows, starts from the present window instead of slow-starting, and without our pacing. */
	if (f->mode == CCP_MODE_RUNNING && ca_state(sk) != TCP_CA_Loss)
		tp->snd_ssthresh = max_u32(f->flags & CCP_F_REDUCING ? min_u32(tp->snd_ssthresh, tp->snd_cwnd) : tp->snd_cwnd, 2);
	if (f->flags & CCP_F_PACING_SET && sk->sk_pacing_status == SK_PACING_NEEDED)
		sk->sk_pacing_status = SK_PACING_NONE;
	slot = f->slot;
	s = bpf_map_lookup_elem(&slots, &slot);
	if (s) {
		account(tp, f);
		if (f->epoch)
			announce_close(tp, f);
		refresh_slot(sk, f, s, 0);
		s->live = 0;
		f->slot = CCP_NO_SLOT;
		return_slot(slot);
		give_shares(f->netns_inum, f->uid);
		count(CCP_STAT_CLOSED, 1);
	}
	bpf_sk_storage_delete(&taken, sk);
	bpf_sk_storage_delete(&flows, sk);
}

/*
 * Tail-calls the program at `index`. A constant index makes the call a jump that the kernel patches; any other makes it an indirect one, which on an
 * ordinary path is mispredicted: three times as dear. The daemon fills the places from 1 on first.
 */
static __always_inline void call_program(void *ctx, u8 index)
{
#define CALL(n)                                                                                                                                      \
	case n:                                                                                                                                      \
		bpf_tail_call_static(ctx, &programs, n);                                                                                             \
		return
	switch (index) {
		CALL(1);
		CALL(2);
		CALL(3);
		CALL(4);
		CALL(5);
		CALL(6);
		CALL(7);
		CALL(8);
		CALL(9);
		CALL(10);
		CALL(11);
		CALL(12);
		CALL(13);
		CALL(14);
		CALL(15);
		CALL(16);
	}
#undef CALL
	bpf_tail_call(ctx, &programs, index);
}

/* The program that runs the flow, if that is settled. Programs give way to the glue by unsettling it. */
static __always_inline void run_program(void *ctx, struct sock *sk)
{
	u32 mark = hot_of(sk)->mark;

	if ((u8)mark)
		call_program(ctx, mark);
}

/* How long a flow whose program faulted too often stays native before it is announced again. */
#define FAULT_PAUSE_US 1000000

/* The heartbeat, announcements and updates. True if a program steers; `left` if the flow is no longer ours. */
static __always_inline bool steered(struct sock *sk, struct ccp_flow *f, struct ccp_config *cfg, const struct rate_sample *rs, u64 now_us, bool *left)
{
	bool fresh = (s64)(now_us * 1000 - cfg->beat_ns) <= (s64)cfg->fallback_after_ns;

	if (!fresh) {
		if (f->mode == CCP_MODE_RUNNING) {
			count(CCP_STAT_FALLBACKS, 1);
			enter_native(sk, f);
		}
		if (f->mode != CCP_MODE_FALLBACK)
			set_mode(f, CCP_MODE_FALLBACK);
		return false;
	}
	if (f->epoch != cfg->epoch || f->mode == CCP_MODE_FALLBACK) {
		u32 mark = CCP_MARK_RESUMED;

		if (f->mode == CCP_MODE_FALLBACK && f->flags & CCP_F_FAULTED && (u32)now_us - f->announced_us < FAULT_PAUSE_US)
			return false;
		if (f->mode == CCP_MODE_FALLBACK && is_left_alone(f, cfg, now_us))
			return false;
		if (f->epoch != cfg->epoch)
			mark = f->epoch || has_history((struct tcp_sock *)sk) ? CCP_MARK_ADOPTED : CCP_MARK_NEW;
		if (f->mode == CCP_MODE_RUNNING)
			enter_native(sk, f);
		new_generation(sk, f, cfg, mark, now_us);
	} else if (!(f->flags & CCP_F_ANSWERED) && (u32)now_us - f->announced_us > ANNOUNCE_AGAIN_US) {
		announce(sk, f, now_us);
	}
	if (read_mailbox(sk, f, rs, now_us)) {
		*left = true;
		return false;
	}
	return f->mode == CCP_MODE_RUNNING;
}

static __always_inline void refresh(struct sock *sk, struct ccp_flow *f, struct ccp_config *cfg, u64 now_us)
{
	struct tcp_sock *tp = (struct tcp_sock *)sk;
	u32 slot = f->slot;
	struct ccp_slot *s;

	if ((u32)now_us - f->refreshed_us < f->refresh_after_us)
		return;
	look_for_answer(sk, f, cfg, now_us);
	s = bpf_map_lookup_elem(&slots, &slot);
	f->mss = max_u32(tp->mss_cache, 1);
	account_rest(tp, f, f->mode == CCP_MODE_RUNNING ? f->prim_mask : 0);
	if (s)
		refresh_slot(sk, f, s, now_us);
}

static __always_inline void on_ack(void *ctx, struct sock *sk, u32 ack, bool data_acked, const struct rate_sample *rs)
{
	struct tcp_sock *tp = (struct tcp_sock *)sk;
	struct ccp_config *cfg = the_config();
	struct ccp_flow *f = flow_of(sk);
	u64 now_us = tp->tcp_mstamp; /* refreshed for this ACK; CLOCK_MONOTONIC */
	bool left = false;

	if (!cfg || !f) {
		/* The ACK of our SYN, which comes before init; or a socket for which there was no memory and no way to hand it over. */
		if (runs_native(sk) && data_acked && hand_over(sk))
			cubictcp_cong_avoid(sk, ack, rs->acked_sacked);
		return;
	}
	if (cfg->flags & CCP_CONFIG_STOPPING) {
		count(CCP_STAT_NATIVE_STOPPING, 1);
		if (!hand_over(sk))
			return;
	}
	if (f->slot == CCP_NO_SLOT)
		goto native;
	refresh(sk, f, cfg, now_us);
	if (!steered(sk, f, cfg, rs, now_us, &left)) {
		if (left)
			return;
		goto native;
	}

	if (!meta_of(f->program)) {
		count(CCP_STAT_NO_PROGRAM, 1);
	} else if (cfg->max_fault_run && f->fault_run >= cfg->max_fault_run) {
		count(CCP_STAT_FAULT_FALLBACKS, 1);
		count_faults(f);
		f->flags |= CCP_F_FAULTED;
		f->announced_us = now_us;
	} else {
		prepare(sk, f, rs);
		mark_program(sk, f->program);
		call_program(ctx, f->program);
		count(CCP_STAT_NO_PROGRAM, 1);
	}
	/* No program after all: it will be announced again, the daemon may choose another. */
	enter_native(sk, f);
	set_mode(f, CCP_MODE_FALLBACK);
native:
	native_ack(sk, f, ack, data_acked, rs);
}

/* Since 6.10. */
SEC("struct_ops")
void BPF_PROG(ccp_cong_control, struct sock *sk, u32 ack, int flag, const struct rate_sample *rs)
{
	run_program(ctx, sk);
	on_ack(ctx, sk, ack, flag & FLAG_DATA_ACKED, rs);
}

/* Before 6.10: neither the ACK number nor its flags. */
SEC("struct_ops")
void BPF_PROG(ccp_cong_control_2, struct sock *sk, const struct rate_sample *rs)
{
	struct tcp_sock *tp = (struct tcp_sock *)sk;
	struct ccp_flow *f;

	run_program(ctx, sk);
	f = flow_of(sk);
	on_ack(ctx, sk, tp->snd_una, rs->acked_sacked > 0 && (!f || tp->bytes_acked != f->last_bytes_acked), rs);
}

/* Before 6.10 only: the one place to see ECE. */
SEC("struct_ops")
void BPF_PROG(ccp_in_ack_event, struct sock *sk, u32 flags)
{
	struct ccp_flow *f;

	if (!(flags & CA_ACK_ECE))
		return;
	f = flow_of(sk);
	if (f)
		f->flags |= CCP_F_ECE;
}

/* A reduction begins: to what? In packets. */
SEC("struct_ops")
u32 BPF_PROG(ccp_ssthresh, struct sock *sk)
{
	struct tcp_sock *tp = (struct tcp_sock *)sk;
	struct ccp_flow *f;

	if (runs_native(sk))
		return cubictcp_recalc_ssthresh(sk);
	f = flow_of(sk);
	if (!f || !f->mss)
		return max_u32(tp->snd_cwnd / 2, 2);
	sync_cwnd(tp, f);
	return max_u64(min_u64(f->reg[CCP_REG_CWND] / f->mss / 2, cwnd_max(tp)), 2);
}

SEC("struct_ops")
void BPF_PROG(ccp_set_state, struct sock *sk, u8 state)
{
	struct tcp_sock *tp = (struct tcp_sock *)sk;
	struct ccp_flow *f = flow_of(sk);
	bool native = runs_native(sk);
	u8 old = ca_state(sk);

	if (native)
		cubictcp_state(sk, state);
	if (!f)
		return;
	if (state == TCP_CA_Loss) {
		/* Also a changed path MTU leads here; a timeout is what cut the window down to what is in flight and one more. */
		if (old == TCP_CA_Loss || tp->snd_cwnd == in_flight(tp) + 1) {
			f->flags |= CCP_F_TIMEOUT;
			f->timeouts++;
		}
		f->flags &= ~(CCP_F_REDUCING | CCP_F_UNDONE);
		f->due |= CCP_DUE_GLUE;
	} else if (reduces(state)) {
		if (reduces(old))
			return;
		f->prr_delivered = 0;
		f->flags = (f->flags & ~CCP_F_UNDONE) | CCP_F_REDUCING;
		f->due |= CCP_DUE_GLUE;
		if (f->mode == CCP_MODE_RUNNING && f->mss && !(f->flags & CCP_F_OWN_RECOVERY)) {
			sync_cwnd(tp, f);
			f->reg[CCP_REG_CWND] = max_u64(f->reg[CCP_REG_CWND] / 2, 2 * (u64)f->mss);
		}
	} else if (f->flags & CCP_F_REDUCING) {
		/* Left recovery. A program's window is its register again; native CUBIC's is ssthresh. */
		if (native && !(f->flags & CCP_F_UNDONE) && tp->snd_ssthresh < TCP_INFINITE_SSTHRESH)
			tp->snd_cwnd = tp->snd_ssthresh;
		f->flags &= ~(CCP_F_REDUCING | CCP_F_UNDONE);
	}
}

/* The reduction was spurious: back to the window from before. */
SEC("struct_ops")
u32 BPF_PROG(ccp_undo_cwnd, struct sock *sk)
{
	struct tcp_sock *tp = (struct tcp_sock *)sk;
	struct ccp_flow *f = flow_of(sk);

	if (f) {
		f->flags |= CCP_F_UNDONE | CCP_F_RESYNC;
		f->due |= CCP_DUE_GLUE;
	}
	return max_u32(tp->snd_cwnd, tp->prior_cwnd);
}

/* Something is sent while nothing is under way. */
static __always_inline void on_tx_start(struct sock *sk, bool native)
{
	struct tcp_sock *tp = (struct tcp_sock *)sk;
	struct ccp_flow *f;

	if (!was_idle(sk))
		return;
	f = flow_of(sk);
	/* A program's next ACK takes the window over; in a reduction, after which it is the register again, it does not. */
	if (native || (f && !(f->flags & CCP_F_OWN_RECOVERY))) {
		restart_after_idle(sk);
		if (f && f->flags & CCP_F_REDUCING)
			f->applied_cwnd = tp->snd_cwnd;
	}
}

SEC("struct_ops")
void BPF_PROG(ccp_cwnd_event, struct sock *sk, enum tcp_ca_event event)
{
	bool native = runs_native(sk);

	if (event == CA_EVENT_TX_START)
		on_tx_start(sk, native);
	if (native)
		cubictcp_cwnd_event(sk, event);
}

/* Where the kernel has a callback of its own for this event, with which CUBIC's for the others is gone. */
SEC("struct_ops")
void BPF_PROG(ccp_cwnd_event_tx_start, struct sock *sk)
{
	bool native = runs_native(sk);

	on_tx_start(sk, native);
	if (native)
		cubictcp_cwnd_event_tx_start(sk);
}

/*
 * One per name: the loader keeps those it needs, gives them their names and flags, puts in the callbacks that the running kernel wants instead, and attaches
 * them. All share programs and maps.
 */
#define CCP_OPS(n)                                                                                                                                           \
	SEC(".struct_ops.link")                                                                                                                              \
	struct tcp_congestion_ops ccp_ops_##n = {                                                                                                            \
		.init = (void *)ccp_init,                                                                                                                    \
		.release = (void *)ccp_release,                                                                                                              \
		.ssthresh = (void *)ccp_ssthresh,                                                                                                            \
		.set_state = (void *)ccp_set_state,                                                                                                          \
		.cwnd_event = (void *)ccp_cwnd_event,                                                                                                        \
		.cong_control = (void *)ccp_cong_control,                                                                                                    \
		.undo_cwnd = (void *)ccp_undo_cwnd,                                                                                                          \
		.flags = TCP_CONG_NON_RESTRICTED,                                                                                                            \
		.name = "ccp",                                                                                                                               \
	}

/* CCP_MAX_NAMES of them. */
CCP_OPS(0);
CCP_OPS(1);
CCP_OPS(2);
CCP_OPS(3);
CCP_OPS(4);
CCP_OPS(5);
CCP_OPS(6);
CCP_OPS(7);
