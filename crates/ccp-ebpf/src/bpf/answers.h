/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Whether the reports of a flow are handled. An algorithm need not answer them; but the daemon's task of the flow has to come back from its work, and says
 * so in `answers`. One that does not (its algorithm hangs) leaves this flow alone to native CUBIC.
 */
#ifndef CCP_ANSWERS_H
#define CCP_ANSWERS_H

/* After so long a flow is announced again even if nobody has come back: what it waits for may have got lost. */
#define UNANSWERED_PAUSE_US 10000000

/* Whether the flow's task has come back since the oldest report that is open. */
static __always_inline bool is_answered(struct ccp_flow *f)
{
	u32 slot = f->slot;
	u64 *answered = bpf_map_lookup_elem(&answers, &slot);

	return !answered || (s64)(READ_ONCE(*answered) - f->waiting_us) >= 0;
}

/* Looked at about once per round trip, before `refreshed_us` moves on. */
static __always_inline void look_for_answer(struct sock *sk, struct ccp_flow *f, struct ccp_config *cfg, u64 now_us)
{
	if (f->mode != CCP_MODE_RUNNING)
		return;
	if (f->waiting_us && is_answered(f))
		f->waiting_us = 0;
	if (f->seen_reports != f->reports) {
		f->seen_reports = f->reports;
		/* Sent after the last look; when exactly is not known, and it may have been handled since. */
		if (!f->waiting_us)
			f->waiting_us = now_us - ((u32)now_us - f->refreshed_us);
	}
	if (!f->waiting_us || !cfg->unanswered_after_us || now_us - f->waiting_us <= cfg->unanswered_after_us || is_answered(f))
		return;
	count(CCP_STAT_UNANSWERED, 1);
	f->flags |= CCP_F_UNANSWERED;
	f->announced_us = now_us;
	enter_native(sk, f);
	set_mode(f, CCP_MODE_FALLBACK);
}

/* A flow that fell back for that reason: whether to leave it alone still. */
static __always_inline bool is_left_alone(struct ccp_flow *f, struct ccp_config *cfg, u64 now_us)
{
	return f->flags & CCP_F_UNANSWERED && f->epoch == cfg->epoch && (u32)now_us - f->announced_us < UNANSWERED_PAUSE_US && !is_answered(f);
}

#endif
