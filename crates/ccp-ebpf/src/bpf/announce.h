/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Slots, and the frames that tell the daemon of a flow: CREATE (new, adopted, resumed) and close. */
#ifndef CCP_ANNOUNCE_H
#define CCP_ANNOUNCE_H

#define ANNOUNCE_AGAIN_US 100000

static __always_inline u32 netns_of(struct sock *sk)
{
	return sk->__sk_common.skc_net.net->ns.inum;
}

/* Takes a slot; CCP_NO_SLOT when all are in use. */
static __always_inline u32 take_slot(struct ccp_config *cfg)
{
	u32 slot;

	/* Those never used first: an early reuse of a slot is the more confusing one. */
	if (READ_ONCE(cfg->next_slot) < cfg->max_flows) {
		slot = __sync_fetch_and_add(&cfg->next_slot, 1);
		if (slot < cfg->max_flows)
			return slot;
		__sync_fetch_and_add(&cfg->next_slot, (u32)-1);
	}
	if (!bpf_map_pop_elem(&free_slots, &slot))
		return slot;
	return CCP_NO_SLOT;
}

static __always_inline void return_slot(u32 slot)
{
	/* The queue's lock may be busy for a moment (rqspinlock, trylock in NMI); a few tries, then it is lost and counted. */
	for (int i = 0; i < 4; i++)
		if (!bpf_map_push_elem(&free_slots, &slot, 0))
			return;
	count(CCP_STAT_SLOT_LEAKED, 1);
}

/* Who runs the flow from now on; seen by others at once. */
static __always_inline void set_mode(struct ccp_flow *f, u32 mode)
{
	u32 slot = f->slot;
	struct ccp_slot *s = bpf_map_lookup_elem(&slots, &slot);

	f->mode = mode;
	if (mode != CCP_MODE_RUNNING) {
		f->program = 0;
		f->program_uid = 0;
	}
	if (s) {
		s->mode = mode;
		s->program_uid = f->program_uid;
	}
}

/* Adds the flow's faults to the global ones and to its program's. */
static __always_inline void count_faults(struct ccp_flow *f)
{
	u32 n = f->faults - f->counted_faults, index = f->program & (CCP_MAX_PROGRAMS - 1);
	struct ccp_program_meta *meta;

	if (!n)
		return;
	count(CCP_STAT_FAULTS, n);
	f->counted_faults = f->faults;
	meta = bpf_map_lookup_elem(&program_meta, &index);
	if (meta && f->program && meta->handle == f->program)
		__sync_fetch_and_add(&meta->faults, n);
}

/* Refreshes what others see of the flow, and adds the flow's own counters to the global ones. */
static __always_inline void refresh_slot(struct sock *sk, struct ccp_flow *f, struct ccp_slot *s, u32 now_us)
{
	struct tcp_sock *tp = (struct tcp_sock *)sk;
	u32 n;

	f->refreshed_us = now_us;
	f->refresh_after_us = max_u32(tp->srtt_us >> 3, 1000);
	f->look_after_us = max_u32(min_u32(tp->srtt_us >> 7, CCP_LOOK_AFTER_MOST_US), CCP_LOOK_AFTER_LEAST_US);
	s->mode = f->mode;
	s->program_uid = f->program_uid;
	s->snd_cwnd = tp->snd_cwnd;
	s->mss = tp->mss_cache;
	s->ca_state = ca_state(sk);
	s->srtt_us = tp->srtt_us >> 3;
	s->min_rtt_us = tp->rtt_min.s[0].v;
	s->pacing_rate = sk->sk_pacing_rate;
	s->bytes_sent = tp->bytes_sent;
	s->bytes_delivered = f->bytes_delivered;
	s->bytes_lost = f->bytes_lost;
	s->timeouts = f->timeouts;
	s->faults = f->faults;
	s->reports = f->reports;
	s->ring_full = f->ring_full;

	count_faults(f);
	n = f->ring_full - f->counted_ring_full;
	if (n) {
		count(CCP_STAT_RING_FULL, n);
		f->counted_ring_full = f->ring_full;
	}
	n = f->reports - f->counted_reports;
	if (n) {
		count(CCP_STAT_REPORTS, n);
		f->counted_reports = f->reports;
	}
}

/* The bytes of a CREATE frame: libccp's, then our trailing fields (ccp-wire describes them). */
struct create_frame {
	u16 type;
	u16 len;
	u32 sock_id;
	u32 init_cwnd; /* bytes */
	u32 mss;
	u32 src_ip;
	u32 src_port;
	u32 dst_ip;
	u32 dst_port;
	char cong_alg[64];
	u8 family; /* 4 or 6 */
	u8 origin; /* CCP_MARK_* */
	u16 faults; /* invocations without effect since the announcement before */
	u32 src[4]; /* IPv4: in the first */
	u32 dst[4];
	u32 generation;
	u64 cwnd;
	u64 rate;
	u32 srtt_us;
	u32 min_rtt_us;
	u32 connection; /* all ones: no way of a connection with several */
	u32 path;
	/* What else we tell: name, number. */
	struct __attribute__((packed)) {
		u8 name_len, kind;
		u16 len;
		char name[6];
		u64 value;
	} cgroup; /* 0: not known */
	struct __attribute__((packed)) {
		u8 name_len, kind;
		u16 len;
		char name[5];
		u64 value;
	} netns;
	struct __attribute__((packed)) {
		u8 name_len, kind;
		u16 len;
		char name[3];
		u64 value;
	} uid;
	struct __attribute__((packed)) {
		u8 name_len, kind;
		u16 len;
		char name[4];
		u64 value;
	} mark;
	u8 end[6]; /* 0 */
};
_Static_assert(sizeof(struct create_frame) == 240, "CREATE");

#define TELL(attribute, text, number)                                                                                                                \
	do {                                                                                                                                         \
		(attribute).name_len = sizeof(text) - 1;                                                                                             \
		(attribute).len = sizeof((attribute).value);                                                                                         \
		__builtin_memcpy((attribute).name, text, sizeof(text) - 1);                                                                          \
		(attribute).value = number;                                                                                                          \
	} while (0)

/* The control group that the socket was made in: it stays so. */
static __always_inline u64 cgroup_of(struct sock *sk)
{
	struct cgroup *group;

	if (!bpf_core_field_exists(sk->sk_cgrp_data))
		return 0;
	group = sk->sk_cgrp_data.cgroup;
	return group ? group->kn->id : 0;
}

static __always_inline void addresses(struct sock *sk, struct create_frame *c)
{
	struct sock_common *skc = &sk->__sk_common;

	c->src_port = skc->skc_num;
	c->dst_port = bpf_ntohs(skc->skc_dport);
	if (skc->skc_family == AF_INET6 && bpf_core_field_exists(skc->skc_v6_daddr)) {
		c->src[0] = skc->skc_v6_rcv_saddr.in6_u.u6_addr32[0];
		c->src[1] = skc->skc_v6_rcv_saddr.in6_u.u6_addr32[1];
		c->src[2] = skc->skc_v6_rcv_saddr.in6_u.u6_addr32[2];
		c->src[3] = skc->skc_v6_rcv_saddr.in6_u.u6_addr32[3];
		c->dst[0] = skc->skc_v6_daddr.in6_u.u6_addr32[0];
		c->dst[1] = skc->skc_v6_daddr.in6_u.u6_addr32[1];
		c->dst[2] = skc->skc_v6_daddr.in6_u.u6_addr32[2];
		c->dst[3] = skc->skc_v6_daddr.in6_u.u6_addr32[3];
		c->family = 6;
		if (c->dst[0] || c->dst[1] || c->dst[2] != bpf_htonl(0xffff))
			return;
		/* An IPv6 socket that talks IPv4: what is on the wire counts. */
		c->src_ip = c->src[3];
		c->dst_ip = c->dst[3];
		c->src[1] = c->src[2] = c->src[3] = c->dst[1] = c->dst[2] = c->dst[3] = 0;
	} else {
		c->src_ip = skc->skc_rcv_saddr;
		c->dst_ip = skc->skc_daddr;
	}
	c->src[0] = c->src_ip;
	c->dst[0] = c->dst_ip;
	c->family = 4;
}

/* Sends CREATE for the flow's present generation. What does not fit is sent again from a later ACK. */
static __always_inline void announce(struct sock *sk, struct ccp_flow *f, u32 now_us)
{
	struct tcp_sock *tp = (struct tcp_sock *)sk;
	struct create_frame *c = bpf_ringbuf_reserve(&ring, sizeof(*c), 0);

	f->announced_us = now_us;
	if (!c) {
		count(CCP_STAT_ANNOUNCE_FULL, 1);
		return;
	}
	__builtin_memset(c, 0, sizeof(*c));
	c->type = CCP_MSG_CREATE;
	c->len = sizeof(*c);
	c->sock_id = f->sock_id;
	c->mss = tp->mss_cache;
	c->init_cwnd = tp->snd_cwnd * c->mss;
	/* The name that the socket uses: the daemon knows what it stands for. */
	bpf_probe_read_kernel_str(c->cong_alg, 16, ((struct inet_connection_sock *)sk)->icsk_ca_ops->name);
	addresses(sk, c);
	c->generation = f->generation;
	c->origin = f->mark;
	c->faults = min_u32(f->new_faults, 0xffff);
	c->cwnd = (u64)tp->snd_cwnd * c->mss;
	c->rate = sk->sk_pacing_rate == ~0ULL ? 0 : sk->sk_pacing_rate; /* all ones: not yet computed */
	c->srtt_us = tp->srtt_us >> 3;
	c->min_rtt_us = tp->rtt_min.s[0].v == ~0U ? 0 : tp->rtt_min.s[0].v;
	c->connection = c->path = ~0U;
	TELL(c->cgroup, "cgroup", cgroup_of(sk));
	TELL(c->netns, "netns", netns_of(sk));
	TELL(c->uid, "uid", sk->sk_uid.val);
	TELL(c->mark, "mark", sk->sk_mark);
	bpf_ringbuf_submit(c, 0);
	count(CCP_STAT_ANNOUNCED, 1);
}

/* A new generation: whatever the mailbox holds, and whatever program ran, is void. */
static __always_inline void new_generation(struct sock *sk, struct ccp_flow *f, struct ccp_config *cfg, u32 mark, u32 now_us)
{
	u32 slot = f->slot;
	struct ccp_slot *s = bpf_map_lookup_elem(&slots, &slot);
	struct ccp_mailbox *m = bpf_map_lookup_elem(&mailbox, &slot);

	if (!s || !m)
		return;
	f->generation = ++s->generation;
	f->epoch = cfg->epoch;
	set_mode(f, CCP_MODE_NATIVE);
	f->seen_seq = READ_ONCE(m->seq);
	f->reg[CCP_REG_RATE] = 0;
	f->fault_run = 0;
	f->new_faults = f->faults - f->told_faults;
	f->told_faults = f->faults;
	f->seen_reports = f->reports;
	f->waiting_us = 0;
	f->mark = mark;
	f->flags &= ~(CCP_F_OWN_RECOVERY | CCP_F_CWND_PENDING | CCP_F_ANSWERED | CCP_F_FAULTED | CCP_F_UNANSWERED);
	refresh_slot(sk, f, s, now_us);
	announce(sk, f, now_us);
}

/* The end of a flow: MEASURE without values, with the flow's totals behind it. */
static __always_inline void announce_close(struct tcp_sock *tp, struct ccp_flow *f)
{
	struct {
		struct ccp_measure head;
		struct ccp_measure_tail tail;
		u64 sent, delivered, lost, ce;
	} c = {};

	c.head.type = CCP_MSG_MEASURE;
	c.head.len = sizeof(c);
	c.head.sock_id = f->sock_id;
	c.head.program_uid = f->program_uid;
	c.tail.generation = f->generation;
	c.tail.merged = f->merged;
	c.sent = tp->bytes_sent;
	c.delivered = f->bytes_delivered;
	c.lost = f->bytes_lost;
	c.ce = f->bytes_ce;
	if (bpf_ringbuf_output(&ring, &c, sizeof(c), 0))
		count(CCP_STAT_CLOSE_FULL, 1);
}

#endif
