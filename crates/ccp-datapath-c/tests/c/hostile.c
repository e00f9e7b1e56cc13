/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* libccp's interface under an agent that says anything, a clock that goes anywhere and a way that takes what it likes: hostile [MESSAGES [SEED]]. */
#include "fixture.h"

#define FLOWS 8

static u32 sids[FLOWS], windows[FLOWS], rates[FLOWS];
static u32 fails_of_8, reports;
static struct ccp_datapath dp;
static struct ccp_connection *conn[FLOWS];
static int reenters;
/* A segment. */
static u32 least = MSS;

static void set_cwnd(struct ccp_connection *c, u32 cwnd)
{
	CHECK(cwnd >= least);
	if (ccp_get_impl(c))
		*(u32 *)ccp_get_impl(c) = cwnd;
}

static void set_rate(struct ccp_connection *c, u32 rate)
{
	CHECK(rate > 0);
	if (ccp_get_impl(c))
		rates[(u32 *)ccp_get_impl(c) - windows] = rate;
}

/* The flow that a function was called for. */
static u32 current = FLOWS;

static int send_msg(struct ccp_datapath *d, char *msg, int size)
{
	CHECK(size >= 8 && d == &dp);
	if (reenters) {
		/* What must not be done is refused, and does no harm. */
		char hello[12] = {5, 0, 12, 0};

		CHECK(ccp_read_msg(d, hello, sizeof hello) < 0);
		CHECK(conn[0] == NULL || ccp_invoke(conn[0]) < 0);
		CHECK(ccp_connection_start(d, NULL, &conn[0]->flow_info) == NULL);
	}
	if (below(8) < fails_of_8)
		return -11;
	if (msg[0] == 0 && current < FLOWS)
		memcpy(&sids[current], msg + 4, 4);
	if (msg[0] == 1 && size > 16 && msg[12])
		reports++;
	return below(2) ? 0 : size;
}

static void start(u32 i)
{
	struct ccp_datapath_info info;

	memset(&info, (int)below(256), sizeof info);
	info.init_cwnd = 10 * MSS;
	info.mss = MSS;
	current = i;
	conn[i] = ccp_connection_start(&dp, &windows[i], &info);
	CHECK(conn[i]);
	windows[i] = info.init_cwnd, rates[i] = 0;
}

/* To a copy that ends where the message does, so that the sanitizer sees what is read beyond. */
static int tell(int claims)
{
	char *copy = malloc((size_t)len + 1);
	int result;

	memcpy(message + 2, &claims, 2);
	memcpy(copy + 1, message, (size_t)len);
	result = ccp_read_msg(&dp, copy + 1, len);
	free(copy);
	return result;
}

/* At every acknowledgement: Report.0 += bytes acknowledged; report. */
static int install(u32 uid)
{
	code.count = code.clauses = 0;
	add(DEF, VOLATILE_REPORT, 0, VOLATILE_REPORT, 0, IMMEDIATE, 0);
	clause();
	flag(EVENT_FLAG);
	body();
	add(ADD, VOLATILE_REPORT, 0, VOLATILE_REPORT, 0, PRIMITIVE, 0);
	flag(SHOULD_REPORT);
	put_install(uid);
	return tell(len);
}

static int change(u32 sid, u32 uid)
{
	begin(4, sid);
	put(uid, 4), put(0, 4);
	return tell(len);
}

static int update(u32 sid, u8 class, u32 index, u64 value)
{
	begin(3, sid);
	put(1, 4), put_field(class, index, value);
	return tell(len);
}

static int invoke(u32 i)
{
	int result;

	current = i;
	conn[i]->prims.bytes_acked = below(3) * MSS;
	conn[i]->prims.rtt_sample_us = 1 + below(100000);
	conn[i]->prims.was_timeout = !below(50);
	conn[i]->prims.bytes_in_flight = windows[i];
	conn[i]->prims.snd_cwnd = below(4) ? windows[i] : 0;
	result = ccp_invoke(conn[i]);
	/* -95 would be a panic. */
	CHECK(result <= 0 && result >= LIBCCP_FALLBACK_TIMED_OUT && result != LIBCCP_PRIV_IS_NULL);
	return result;
}

/* An agent that came back, with programs called otherwise: every flow runs again. */
static void recovers(u32 uid)
{
	u32 i, turn;

	fails_of_8 = 0;
	for (turn = 0; turn < 20; turn++) {
		CHECK(install(uid) == LIBCCP_OK);
		for (i = 0; i < FLOWS; i++) {
			invoke(i);
			clock_us += 200000;
		}
	}
	reports = 0;
	for (i = 0; i < FLOWS; i++) {
		CHECK(change(sids[i], uid) == LIBCCP_OK);
		CHECK(update(sids[i], 2, 4, 20 * MSS) == LIBCCP_OK);
		conn[i]->prims.was_timeout = false;
		CHECK(invoke(i) == LIBCCP_OK);
		CHECK(windows[i] == 20 * MSS);
	}
	CHECK(reports == FLOWS);
}

/* One of a message's parts is made otherwise. */
static void spoil(void)
{
	u32 i;

	for (i = 1 + below(3); i; i--) {
		u32 at = below((u32)len);

		switch (below(4)) {
		case 0:
			message[at] = (char)below(256);
			break;
		case 1:
			message[at] = (char)0xff;
			break;
		case 2:
			if (len > 8)
				len -= (int)below((u32)len - 8);
			break;
		default:
			message[at] ^= (char)(1 << below(8));
		}
	}
}

static void say_anything(void)
{
	int i, size;

	switch (below(6)) {
	case 0:
		len = 0;
		size = (int)below(300);
		for (i = 0; i < size; i++)
			put(below(256), 1);
		break;
	case 1:
		begin((u16)below(24), below(2) ? sids[below(FLOWS)] : below(20));
		size = (int)below(100);
		for (i = 0; i < size; i++)
			put(below(4) ? below(6) : below(256), 1);
		break;
	case 2:
		install(1 + below(5));
		spoil();
		break;
	case 3:
		change(sids[below(FLOWS)], 1 + below(5));
		spoil();
		break;
	case 4:
		update(sids[below(FLOWS)], (u8)below(10), below(7), (u64)below(1u << 31) << below(34));
		spoil();
		break;
	default:
		install(1 + below(5));
		change(sids[below(FLOWS)], 1 + below(5));
	}
	if (len >= 4)
		CHECK(tell(below(8) ? len : (int)below(65536)) != LIBCCP_PRIV_IS_NULL);
}

/* A transport that measures anything, with segments of any size. */
static void absurd(void)
{
	static const u32 sizes[] = {0, 1, 0x7fffffff, 0xffffffff};
	struct ccp_datapath_info info;
	struct ccp_connection *c;
	u32 i, turn, at;
	u8 *prims;

	memset(&info, 0xff, sizeof info);
	for (i = 0; i < 16; i++) {
		info.mss = sizes[i / 4], info.init_cwnd = sizes[i % 4];
		least = info.mss ? info.mss : 1;
		current = 0;
		c = ccp_connection_start(&dp, NULL, &info);
		CHECK(c);
		prims = (u8 *)&c->prims;
		for (turn = 0; turn < 500; turn++) {
			for (at = 0; at < sizeof c->prims; at++)
				prims[at] = (u8)(turn % 3 ? below(256) : below(2) * 255);
			memset(&c->prims.was_timeout, (int)below(2), 1);
			CHECK(ccp_invoke(c) != LIBCCP_PRIV_IS_NULL);
			clock_us += (u64)below(1000000) << below(8);
			/* Natively, then by a program. */
			if (turn == 250)
				CHECK(change(sids[0], 1) == LIBCCP_OK);
		}
		ccp_connection_free(&dp, c->index);
	}
	least = MSS;
}

int main(int argc, char **argv)
{
	u32 messages = argc > 1 ? (u32)strtoul(argv[1], NULL, 10) : 100000, i, n;
	size_t places = 70000;
	struct ccp_connection *table = malloc(places * sizeof *table);

	state = argc > 2 ? strtoull(argv[2], NULL, 10) : 1;
	memset(table, 0x5a, places * sizeof *table);
	prepare(&dp, table, places, 3, 1000);
	CHECK(ccp_init(&dp, 1) == LIBCCP_OK);
	/* A place that never held a flow. */
	CHECK(ccp_invoke(&table[5]) == LIBCCP_PRIV_IS_NULL);
	CHECK(ccp_connection_lookup(&dp, 6) == NULL);
	CHECK(install(1) == LIBCCP_OK);
	absurd();
	for (i = 0; i < FLOWS; i++)
		start(i);

	/* Numbers beyond what C's interface has room for. */
	CHECK(change(sids[0], 1) == LIBCCP_OK);
	CHECK(update(sids[0], 2, 4, 1ull << 63) == LIBCCP_OK);
	CHECK(update(sids[0], 2, 5, ~0ull) == LIBCCP_OK);
	CHECK(invoke(0) == LIBCCP_OK);
	CHECK(windows[0] == 0xffffffff && rates[0] == 0xffffffff);
	CHECK(update(sids[0], 2, 4, 1) == LIBCCP_OK);
	CHECK(invoke(0) == LIBCCP_OK);
	CHECK(windows[0] == MSS);
	/* Registers that are not there, or not the agent's to set. */
	CHECK(update(sids[0], 2, 6, 1) < 0);
	CHECK(update(sids[0], 2, 0, 1) < 0);
	CHECK(update(sids[0], 5, 0, 1) < 0);
	CHECK(update(sids[0], 7, 0, 1) < 0);
	CHECK(change(sids[0], 9) == LIBCCP_PROG_NOT_FOUND);
	CHECK(change(0, 1) == LIBCCP_UNKNOWN_CONNECTION);
	CHECK(invoke(0) == LIBCCP_OK);

	/* A clock that is set back, also behind its beginning, and far ahead: time goes on. */
	for (n = 0; n < 4; n++) {
		clock_us = n == 0 ? 500000 : n == 1 ? 1ull << 62 : n == 2 ? 10 : clock_us - 1;
		invoke(0);
		recovers(100 + n);
	}
	/* Nobody takes anything for longer than fto_us, or for ever. */
	fails_of_8 = 8;
	for (n = 0; n < 100; n++) {
		clock_us += 1000;
		for (i = 0; i < FLOWS; i++)
			invoke(i);
	}
	CHECK(invoke(0) == LIBCCP_FALLBACK_TIMED_OUT);
	recovers(50);

	for (n = 0; n < messages; n++) {
		say_anything();
		if (!below(1000))
			fails_of_8 = below(9);
		for (i = below(3); i; i--)
			invoke(below(FLOWS));
		if (!below(50)) {
			i = below(FLOWS);
			n & 1 ? ccp_connection_free(&dp, conn[i]->index) : ccp_connection_free(&dp, (u16)below(65536));
			if (!ccp_connection_lookup(&dp, conn[i]->index))
				start(i);
			for (i = 0; i < FLOWS; i++)
				if (!conn[i]->index)
					start(i);
		}
		clock_us += below(20) ? below(3000) : below(100) ? below(1000000) : 0;
		if (!below(2000))
			clock_us -= below(1u << 31);
	}
	recovers(4711);

	/* Every place taken; one given back is taken again. */
	current = FLOWS;
	for (n = FLOWS; n < 65535; n++)
		CHECK(ccp_connection_start(&dp, NULL, &conn[0]->flow_info));
	CHECK(!ccp_connection_start(&dp, NULL, &conn[0]->flow_info));
	ccp_connection_free(&dp, 65535);
	CHECK(ccp_connection_lookup(&dp, 65535) == NULL);
	CHECK(ccp_connection_start(&dp, NULL, &conn[0]->flow_info) == &table[65534]);
	CHECK(!ccp_connection_start(&dp, NULL, &conn[0]->flow_info));
	reenters = 1;
	clock_us += 2000000;
	ccp_connection_free(&dp, 65535);
	invoke(0);
	reenters = 0;
	ccp_free(&dp);
	CHECK(!ccp_connection_start(&dp, NULL, &conn[0]->flow_info));
	CHECK(ccp_init(&dp, 2) == LIBCCP_OK);
	for (i = 0; i < FLOWS; i++)
		start(i);
	recovers(2);
	ccp_free(&dp);
	free(table);
	printf("hostile: passed\n");
	return 0;
}
