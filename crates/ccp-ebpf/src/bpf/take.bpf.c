// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * Takes flows that have not asked: new ones as they are established (`take`, attached to cgroups), and those under way (`take_living`, run by reading the
 * iterator once per network namespace). Which ones, the loader fixes before loading; a changed choice is a new object.
 *
 * Nothing is taken while the daemon's heartbeat is old: then new flows get what their namespace has for them.
 */
#include "kernel.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_endian.h>
#include "intf.h"
#define CCP_FEW_MAPS
#include "maps.h"
#include "take.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

/* ---- set by the loader ---- */

/* Not constants of the object: the generated skeleton takes none beside a map called `config`. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_RDONLY_PROG);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct ccp_rules);
} rules SEC(".maps");

/* Prefixes of addresses of all lists. */
struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 1);
	__type(key, struct ccp_prefix);
	__type(value, u32);
} prefixes SEC(".maps");

/* Numbers of cgroups, with CCP_CGROUP_*. The loader changes them as cgroups come and go. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, CCP_MAX_CGROUPS);
	__type(key, u64);
	__type(value, u32);
} cgroups SEC(".maps");

/* ---- does a flow fit? ---- */

struct end {
	u32 family; /* 4 or 6 */
	u32 address[4];
	u16 port;
};

static __always_inline bool on_list(u32 list, const struct end *end)
{
	struct ccp_prefix key = {
		.bits = 32 + (end->family == 4 ? 32 : 128),
		.list = list << 8 | end->family,
		.address = { end->address[0], end->address[1], end->address[2], end->address[3] },
	};

	return bpf_map_lookup_elem(&prefixes, &key);
}

static __always_inline bool on_ports(const struct ccp_rules *r, u32 list, u16 port)
{
	u32 i, n = r->port_counts[list];

	for (i = 0; i < CCP_TAKE_PORTS && i < n; i++)
		if (port >= r->ports[list][i].first && port <= r->ports[list][i].last)
			return true;
	return false;
}

/* Whether an end is as the list `list` has it; a list without anything fits all. */
static __always_inline bool fits(const struct ccp_rules *r, u32 list, const struct end *end)
{
	return (!(r->lists & 1 << list) || on_list(list, end)) && (!r->port_counts[list] || on_ports(r, list, end->port));
}

static __always_inline bool excepted(const struct ccp_rules *r, u32 list, const struct end *end)
{
	return (r->lists & 1 << list && on_list(list, end)) || on_ports(r, list, end->port);
}

/* The ends as they are on the wire: an IPv6 socket may talk IPv4. */
static __always_inline void ends(struct sock *sk, struct end *src, struct end *dst)
{
	struct sock_common *skc = &sk->__sk_common;

	src->port = skc->skc_num;
	dst->port = bpf_ntohs(skc->skc_dport);
	src->family = dst->family = 4;
	if (skc->skc_family == AF_INET6 && bpf_core_field_exists(skc->skc_v6_daddr)) {
		for (int i = 0; i < 4; i++) {
			src->address[i] = skc->skc_v6_rcv_saddr.in6_u.u6_addr32[i];
			dst->address[i] = skc->skc_v6_daddr.in6_u.u6_addr32[i];
		}
		if (dst->address[0] || dst->address[1] || dst->address[2] != bpf_htonl(0xffff)) {
			src->family = dst->family = 6;
			return;
		}
		src->address[0] = src->address[3];
		dst->address[0] = dst->address[3];
		src->address[1] = src->address[2] = src->address[3] = dst->address[1] = dst->address[2] = dst->address[3] = 0;
	} else {
		src->address[0] = skc->skc_rcv_saddr;
		dst->address[0] = skc->skc_daddr;
	}
}

/* What is said of the cgroups that the socket is in, from its own to the root. */
static __always_inline u32 of_cgroups(struct sock *sk)
{
	struct cgroup *cgroup = BPF_CORE_READ(sk, sk_cgrp_data.cgroup);
	u32 said = 0;

	for (int depth = 0; depth < CCP_CGROUP_DEPTH && cgroup; depth++) {
		struct cgroup_subsys_state *parent = BPF_CORE_READ(cgroup, self.parent);
		u64 id = BPF_CORE_READ(cgroup, kn, id);
		u32 *is = bpf_map_lookup_elem(&cgroups, &id);

		if (is)
			said |= *is;
		cgroup = parent ? BPF_CORE_READ(parent, cgroup) : NULL;
	}
	return said;
}

static __always_inline bool wanted(const struct ccp_rules *r, struct sock *sk, bool living)
{
	struct end src = {}, dst = {};

	ends(sk, &src, &dst);
	if (!fits(r, CCP_TAKE_DST, &dst) || !fits(r, CCP_TAKE_SRC, &src))
		return false;
	if (excepted(r, CCP_TAKE_EXCEPT_DST, &dst) || excepted(r, CCP_TAKE_EXCEPT_SRC, &src))
		return false;
	/* New flows come only from cgroups that this is attached to. */
	if (r->except_cgroups || (living && r->in_cgroups)) {
		u32 said = of_cgroups(sk);

		if (said & CCP_CGROUP_EXCEPT)
			return false;
		if (living && r->in_cgroups && !(said & CCP_CGROUP_TAKE))
			return false;
	}
	return true;
}

/* ---- taking ---- */

static __always_inline bool is_ours(const struct ccp_rules *r, const char *name)
{
	const u64 *is = (const u64 *)name;

	for (int i = 0; i < CCP_MAX_NAMES; i++) {
		const u64 *ours = (const u64 *)r->names[i];

		if (ours[0] == is[0] && ours[1] == is[1])
			return true;
	}
	return false;
}

/*
 * `opt` is what (set)sockopt wants, `owner` what storage belongs to; both are the socket, but programs know it by different kinds of pointers.
 */
static __always_inline void consider(void *opt, void *owner, struct sock *sk, bool living)
{
	struct ccp_config *cfg = the_config();
	const struct tcp_congestion_ops___read *has, *usual;
	char name[16] __attribute__((aligned(8))) = {}, ours[16];
	struct ccp_taken *t;
	struct ccp_flow *f;
	struct ccp_rules *r;
	u32 zero = 0;

	r = bpf_map_lookup_elem(&rules, &zero);
	if (!r || !cfg || cfg->flags & CCP_CONFIG_STOPPING)
		return;
	if ((s64)(bpf_ktime_get_ns() - cfg->beat_ns) > (s64)cfg->fallback_after_ns)
		return;
	if (cfg->netns_inum && cfg->netns_inum != BPF_CORE_READ(sk, __sk_common.skc_net.net, ns.inum))
		return;
	if (!wanted(r, sk, living))
		return;
	has = BPF_CORE_READ((struct inet_connection_sock *)sk, icsk_ca_ops);
	usual = BPF_CORE_READ(sk, __sk_common.skc_net.net, ipv4.tcp_congestion_control);
	if (bpf_core_read(name, sizeof(name), &has->name) || is_ours(r, name))
		return;
	/* Chosen by the program, by its listening socket or by the route. */
	if (has != usual && !r->chosen_too) {
		count(CCP_STAT_TAKE_LEFT, 1);
		return;
	}
	t = bpf_sk_storage_get(&taken, owner, NULL, BPF_SK_STORAGE_GET_F_CREATE);
	if (!t)
		goto refused;
	__builtin_memcpy(t->before, name, sizeof(name));
	__builtin_memcpy(ours, r->names[0], sizeof(ours));
	if (bpf_setsockopt(opt, IPPROTO_TCP, TCP_CONGESTION, ours, sizeof(ours)))
		goto refused;
	f = bpf_sk_storage_get(&flows, owner, NULL, 0);
	if (!f || f->slot == CCP_NO_SLOT) {
		/* Beyond a limit, which was counted. */
		bpf_setsockopt(opt, IPPROTO_TCP, TCP_CONGESTION, name, sizeof(name));
		goto refused;
	}
	count(living ? CCP_STAT_TAKEN_LIVING : CCP_STAT_TAKEN_NEW, 1);
	return;

refused:
	bpf_sk_storage_delete(&taken, owner);
	count(CCP_STAT_TAKE_REFUSED, 1);
}

SEC("sockops")
int take(struct bpf_sock_ops *ctx)
{
	struct tcp_sock *tp;
	void *sk;

	/* 1, and the reply left alone, leaves to others' programs what they say. */
	if (ctx->op != BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB && ctx->op != BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB)
		return 1;
	sk = ctx->sk;
	if (!sk)
		return 1;
	tp = bpf_skc_to_tcp_sock(sk);
	if (tp)
		consider(ctx, sk, (struct sock *)tp, false);
	return 1;
}

SEC("iter/tcp")
int take_living(struct bpf_iter__tcp *ctx)
{
	struct sock_common *skc = ctx->sk_common;
	struct tcp_sock *tp;

	/* Those that can still send. What is being established meets `take`. */
	if (!skc || !(skc->skc_state == TCP_ESTABLISHED || skc->skc_state == TCP_CLOSE_WAIT))
		return 0;
	tp = bpf_skc_to_tcp_sock(skc);
	if (tp)
		consider(tp, tp, (struct sock *)tp, true);
	return 0;
}
