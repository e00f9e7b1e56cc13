/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* What the loader tells take.bpf.c, and the little of the kernel's interface that only it uses. `take/rules.rs` mirrors the first. */
#ifndef CCP_TAKE_H
#define CCP_TAKE_H

/* Lists of addresses and ports. */
#define CCP_TAKE_DST 0
#define CCP_TAKE_SRC 1
#define CCP_TAKE_EXCEPT_DST 2
#define CCP_TAKE_EXCEPT_SRC 3
#define CCP_TAKE_LISTS 4
/* Ranges of ports per list. */
#define CCP_TAKE_PORTS 16
#define CCP_MAX_CGROUPS 128
#define CCP_CGROUP_TAKE 1
#define CCP_CGROUP_EXCEPT 2
/* Levels of cgroups that are looked at, from the socket's own upwards. */
#define CCP_CGROUP_DEPTH 32

struct ccp_ports {
	u16 first;
	u16 last;
};

struct ccp_rules {
	u8 names[CCP_MAX_NAMES][16]; /* the datapath's, the one that flows are given first; zero-padded */
	u32 lists;                   /* a bit for each list of addresses that is not empty */
	u32 port_counts[CCP_TAKE_LISTS];
	u32 in_cgroups;              /* whether living flows have to be in one of the control groups */
	u32 except_cgroups;          /* whether there are any whose flows are left */
	u32 chosen_too;              /* whether flows with an algorithm of their own choice are taken, too */
	struct ccp_ports ports[CCP_TAKE_LISTS][CCP_TAKE_PORTS];
};

/* Key of an LPM trie. */
struct ccp_prefix {
	u32 bits; /* 32 for the list, and those of the prefix */
	u32 list; /* its number << 8 | 4 or 6 */
	u32 address[4];
};

enum { TCP_ESTABLISHED = 1, TCP_CLOSE_WAIT = 8 };
enum { BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB = 4, BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB = 5 };

/* As in the kernel's UAPI: what programs get is laid out so, not relocated. */
struct bpf_sock_ops {
	u32 op;
	u32 between[45];
	struct bpf_sock *sk;
};
_Static_assert(__builtin_offsetof(struct bpf_sock_ops, sk) == 184, "bpf_sock_ops");

#endif
