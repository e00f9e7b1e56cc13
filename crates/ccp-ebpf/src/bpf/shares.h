/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Shares of the slots: no network namespace but the initial one, and no user but root, takes more than its own. Any local user can open any number of
 * flows, also in namespaces of their own.
 */
#ifndef CCP_SHARES_H
#define CCP_SHARES_H

/* Whether there was one left. Where it cannot be counted (no memory) there is: the number of slots bounds it. */
static __always_inline bool take_share(u32 kind, u32 id, u32 most)
{
	struct ccp_share key = { kind, id };
	u32 *n = bpf_map_lookup_elem(&shares, &key), zero = 0;

	if (!n) {
		bpf_map_update_elem(&shares, &key, &zero, BPF_NOEXIST);
		n = bpf_map_lookup_elem(&shares, &key);
		if (!n)
			return true;
	}
	/* Signed: one that was given back without having been counted, as limits changed, blocks nobody. */
	if ((s32)__sync_fetch_and_add(n, 1) < (s32)min_u32(most, 0x7fffffff))
		return true;
	__sync_fetch_and_add(n, (u32)-1);
	return false;
}

/*
 * The last one takes the counter along, or namespaces that come and go would fill the map. A flow that comes at that very moment may go uncounted.
 */
static __always_inline void give_share(u32 kind, u32 id)
{
	struct ccp_share key = { kind, id };
	u32 *n = bpf_map_lookup_elem(&shares, &key);

	if (n && (s32)__sync_fetch_and_add(n, (u32)-1) <= 1)
		bpf_map_delete_elem(&shares, &key);
}

/* Whether the flow may have a slot; if not, `why`. */
static __always_inline bool take_shares(struct ccp_config *cfg, u32 netns, u32 uid, u32 *why)
{
	bool of_namespace = cfg->max_per_namespace && netns != cfg->initial_netns;

	if (of_namespace && !take_share(CCP_SHARE_NAMESPACE, netns, cfg->max_per_namespace)) {
		*why = CCP_STAT_NATIVE_NAMESPACE_LIMIT;
		return false;
	}
	if (cfg->max_per_user && uid && !take_share(CCP_SHARE_USER, uid, cfg->max_per_user)) {
		if (of_namespace)
			give_share(CCP_SHARE_NAMESPACE, netns);
		*why = CCP_STAT_NATIVE_USER_LIMIT;
		return false;
	}
	return true;
}

static __always_inline void give_shares(u32 netns, u32 uid)
{
	give_share(CCP_SHARE_NAMESPACE, netns);
	if (uid)
		give_share(CCP_SHARE_USER, uid);
}

#endif
