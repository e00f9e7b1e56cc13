/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * The maps, and the little helpers around them. The loader sizes the maps whose max_entries is 1 here, and pins all of them. With CCP_FEW_MAPS, only those
 * that other objects than the glue use as well.
 */
#ifndef CCP_MAPS_H
#define CCP_MAPS_H

/* Per-socket state. */
struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct ccp_flow);
} flows SEC(".maps");

/* What flows that were taken had before. */
struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct ccp_taken);
} taken SEC(".maps");

#ifndef CCP_FEW_MAPS
/* Frames to the daemon. */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4096);
} ring SEC(".maps");

/* Updates from the daemon. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct ccp_mailbox);
} mailbox SEC(".maps");

/* When the daemon last came back from the work for a flow. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, u64);
} answers SEC(".maps");

/* How many slots each network namespace and user has. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 1);
	__type(key, struct ccp_share);
	__type(value, u32);
} shares SEC(".maps");

/* What the daemon may look at at any time. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct ccp_slot);
} slots SEC(".maps");

/* Slots that flows gave back; those never handed out are counted by ccp_config.next_slot. */
struct {
	__uint(type, BPF_MAP_TYPE_QUEUE);
	__uint(max_entries, 1);
	__uint(key_size, 0);
	__uint(value_size, sizeof(u32));
} free_slots SEC(".maps");
#endif

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct ccp_config);
} config SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, CCP_STATS);
	__type(key, u32);
	__type(value, u64);
} stats SEC(".maps");

#ifndef CCP_FEW_MAPS
/* Generated programs, and what a flow needs to start one. */
struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, CCP_MAX_PROGRAMS);
	__uint(key_size, sizeof(u32));
	__uint(value_size, sizeof(u32));
} programs SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, CCP_MAX_PROGRAMS);
	__type(key, u32);
	__type(value, struct ccp_program_meta);
} program_meta SEC(".maps");
#endif

static __always_inline void count(u32 what, u64 n)
{
	u64 *v = bpf_map_lookup_elem(&stats, &what);

	if (v)
		__sync_fetch_and_add(v, n); /* a softirq may come in between */
}

static __always_inline struct ccp_config *the_config(void)
{
	u32 zero = 0;

	return bpf_map_lookup_elem(&config, &zero);
}

#ifndef CCP_FEW_MAPS
/* The kernel zeroes it whenever the socket's algorithm changes. The loader refuses a kernel whose CUBIC needs more than what stands before `mark`. */
static __always_inline struct ccp_hot *hot_of(struct sock *sk)
{
	return (struct ccp_hot *)((struct inet_connection_sock *)sk)->icsk_ca_priv;
}

/* The flow in the storage, with what is newer in the socket. */
static __always_inline struct ccp_flow *flow_of(struct sock *sk)
{
	struct ccp_flow *f = bpf_sk_storage_get(&flows, sk, NULL, 0);
	struct tcp_sock *tp = (struct tcp_sock *)sk;
	struct ccp_hot *hot = hot_of(sk);
	u32 mark = hot->mark;

	if (f && mark & CCP_HOT_FRAME) {
		f->reg[CCP_REG_CWND] = hot->cwnd;
		f->applied_cwnd = hot->applied_cwnd;
		f->last_bytes_acked = tp->bytes_acked - (u32)(tp->bytes_acked - hot->last_bytes_acked);
		f->mss = tp->mss_cache ? tp->mss_cache : 1;
		hot->mark = mark & ~CCP_HOT_FRAME;
	}
	return f;
}
#endif

#define READ_ONCE(x) (*(volatile typeof(x) *)&(x))
#define WRITE_ONCE(x, v) (*(volatile typeof(x) *)&(x) = (v))

static __always_inline u32 min_u32(u32 a, u32 b)
{
	return a < b ? a : b;
}

static __always_inline u32 max_u32(u32 a, u32 b)
{
	return a > b ? a : b;
}

static __always_inline u64 min_u64(u64 a, u64 b)
{
	return a < b ? a : b;
}

static __always_inline u64 max_u64(u64 a, u64 b)
{
	return a > b ? a : b;
}

#endif
