// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/* Says how a control group and those above it are called, from it up to the root: each name, and a zero behind it. */
#include "kernel.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>

char LICENSE[] SEC("license") = "Dual BSD/GPL";

#define LONGEST_NAME 256

SEC("iter/cgroup")
int names(struct bpf_iter__cgroup *ctx)
{
	struct cgroup *group = ctx->cgroup;
	char name[LONGEST_NAME];
	long len;

	if (!group)
		return 0;
	len = bpf_probe_read_kernel_str(name, sizeof(name), BPF_CORE_READ(group, kn, name));
	if (len > 0 && len <= (long)sizeof(name))
		bpf_seq_write(ctx->meta->seq, name, len);
	return 0;
}
