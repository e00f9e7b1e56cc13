// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * Moves every socket of one network namespace that uses one of our names, listening ones included, to the system's CUBIC; a flow that was taken gets back what
 * it had. Run by reading the iterator once.
 */
#include "kernel.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include "intf.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

#define LEAVE_NAMES 16

/* Set by the loader before loading; zero-padded. */
const volatile u8 leave_names[LEAVE_NAMES][16] = {};
/* Sockets moved, those of them that got back what they had, and sockets that refused. */
u32 moved = 0, given_back = 0, refused = 0;

/* The glue's. */
struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct ccp_taken);
} taken SEC(".maps");

SEC("iter/tcp")
int leave(struct bpf_iter__tcp *ctx)
{
	struct sock_common *skc = ctx->sk_common;
	char cubic[8] = "cubic";
	u8 name[16] = {};
	struct ccp_taken *t;
	struct tcp_sock *tp;
	bool ours = false;
	int i, n;

	if (!skc)
		return 0;
	tp = bpf_skc_to_tcp_sock(skc);
	if (!tp)
		return 0;
	if (bpf_getsockopt(tp, IPPROTO_TCP, TCP_CONGESTION, name, sizeof(name)))
		return 0;
	for (n = 0; n < LEAVE_NAMES && !ours; n++) {
		ours = leave_names[n][0];
		for (i = 0; i < 16; i++)
			if (name[i] != leave_names[n][i])
				ours = false;
	}
	if (!ours)
		return 0;
	t = bpf_sk_storage_get(&taken, tp, NULL, 0);
	if (t && !bpf_setsockopt(tp, IPPROTO_TCP, TCP_CONGESTION, t->before, sizeof(t->before))) {
		__sync_fetch_and_add(&given_back, 1);
		__sync_fetch_and_add(&moved, 1);
		return 0;
	}
	if (bpf_setsockopt(tp, IPPROTO_TCP, TCP_CONGESTION, cubic, 5))
		__sync_fetch_and_add(&refused, 1);
	else
		__sync_fetch_and_add(&moved, 1);
	return 0;
}
