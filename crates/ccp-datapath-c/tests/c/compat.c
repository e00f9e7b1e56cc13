/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* libccp's interface, call by call: what it returns, and what wrong use does. */
#include "fixture.h"

_Static_assert(sizeof(struct ccp_primitives) == 88, "layout of libccp 1.2");
_Static_assert(sizeof(struct ccp_datapath_info) == 88, "layout of libccp 1.2");
_Static_assert(sizeof(struct ccp_connection) == 216, "layout of libccp 1.2");
_Static_assert(sizeof(struct ccp_datapath) == 128, "layout of libccp 1.2");
_Static_assert(offsetof(struct ccp_connection, prims) == 16, "layout of libccp 1.2");
_Static_assert(offsetof(struct ccp_connection, impl) == 200, "layout of libccp 1.2");

static u32 window, rate;
static int fails, sent;
static char last[65536];
static int last_size;
static int logged;

static void set_cwnd(struct ccp_connection *conn, u32 cwnd)
{
	CHECK(ccp_get_impl(conn) == (void *)&window);
	window = cwnd;
}

static void set_rate(struct ccp_connection *conn, u32 value)
{
	(void)conn;
	rate = value;
}

static int send_msg(struct ccp_datapath *dp, char *msg, int size)
{
	(void)dp;
	if (fails)
		return -1;
	memcpy(last, msg, (size_t)size);
	/* libccp lets one write there. */
	memset(msg, 0xff, (size_t)size);
	last_size = size;
	sent++;
	return 0;
}

static void log_it(struct ccp_datapath *dp, enum ccp_log_level level, const char *msg, int size)
{
	(void)dp;
	(void)level;
	CHECK((size_t)size == strlen(msg));
	logged++;
}

static u16 kind(void)
{
	return (u16)((u8)last[0] | (u8)last[1] << 8);
}

static u32 flow(void)
{
	u32 id;

	memcpy(&id, last + 4, 4);
	return id;
}

/* A message of `size` bytes whose header says `claims`. */
static int tell(struct ccp_datapath *dp, u16 type, u16 claims, u32 sid, const void *body, int size)
{
	char *message = malloc((size_t)size + 8);
	int result;

	memcpy(message, &type, 2);
	memcpy(message + 2, &claims, 2);
	memcpy(message + 4, &sid, 4);
	if (size)
		memcpy(message + 8, body, (size_t)size);
	result = ccp_read_msg(dp, message, size + 8);
	free(message);
	return result;
}

int main(void)
{
	enum { PLACES = 3 };
	struct ccp_connection *table = malloc(PLACES * sizeof *table);
	struct ccp_datapath dp;
	struct ccp_datapath_info info;
	struct ccp_connection *conn[PLACES + 1];
	u32 body[16] = {0}, first;
	char header[8] = {0};
	int i;

	/* Places that hold anything. */
	memset(table, 0x5a, PLACES * sizeof *table);
	memset(&dp, 0, sizeof dp);
	CHECK(ccp_init(NULL, 0) == LIBCCP_MISSING_ARG);
	CHECK(ccp_init(&dp, 0) == LIBCCP_MISSING_ARG);
	CHECK(ccp_read_msg(&dp, header, 8) == LIBCCP_PROG_IS_NULL);
	CHECK(ccp_connection_start(&dp, NULL, &info) == NULL);
	prepare(&dp, table, PLACES, 2, 0);
	dp.log = log_it;
	CHECK(ccp_init(&dp, 7) == LIBCCP_MISSING_ARG);
	dp.fto_us = 1000;
	CHECK(ccp_init(&dp, 7) == LIBCCP_OK);
	CHECK(sent == 1 && kind() == 5);

	info = a_flow();
	memset(info.congAlg, 'x', sizeof info.congAlg);
	for (i = 0; i < PLACES; i++) {
		conn[i] = ccp_connection_start(&dp, &window, &info);
		CHECK(conn[i] && conn[i]->index > 0 && conn[i]->index <= PLACES);
		CHECK(ccp_connection_lookup(&dp, conn[i]->index) == conn[i]);
		CHECK(ccp_get_impl(conn[i]) == &window);
	}
	CHECK(ccp_connection_start(&dp, &window, &info) == NULL);
	CHECK(ccp_connection_lookup(&dp, 0) == NULL && ccp_connection_lookup(&dp, PLACES + 1) == NULL);

	/* No program: steered all the same. */
	conn[0]->prims.bytes_acked = 1448;
	conn[0]->prims.rtt_sample_us = 20000;
	clock_us += 20000;
	CHECK(ccp_invoke(NULL) == LIBCCP_NULL_ARG);
	i = ccp_invoke(conn[0]);
	CHECK(i == LIBCCP_PROG_IS_NULL || i == LIBCCP_FALLBACK_TIMED_OUT);
	CHECK(window == 14480 + 1448 && rate == 0);

	/* Wrong messages: each has its code, and changes nothing. */
	CHECK(ccp_read_msg(NULL, header, 8) == LIBCCP_PROG_IS_NULL);
	CHECK(ccp_read_msg(&dp, NULL, 8) == LIBCCP_NULL_ARG);
	CHECK(ccp_read_msg(&dp, header, -1) == LIBCCP_BUFSIZE_NEGATIVE);
	CHECK(ccp_read_msg(&dp, header, 0) == LIBCCP_BUFSIZE_TOO_SMALL);
	CHECK(ccp_read_msg(&dp, header, 7) == LIBCCP_BUFSIZE_TOO_SMALL);
	CHECK(tell(&dp, 3, 0xffff, 1, body, 4) == LIBCCP_MSG_TOO_LONG);
	CHECK(tell(&dp, 3, 100, 1, body, 4) == LIBCCP_BUFSIZE_TOO_SMALL);
	CHECK(tell(&dp, 99, 12, 1, body, 4) == LIBCCP_READ_INVALID_HEADER_TYPE);
	/* The header claims fewer bytes than the content: one update, and no room for it. libccp reads past it. */
	body[0] = 1;
	CHECK(tell(&dp, 3, 12, 1, body, 17) == LIBCCP_BUFSIZE_TOO_SMALL);
	CHECK(tell(&dp, 4, 8, 1, body, 17) == LIBCCP_BUFSIZE_TOO_SMALL);
	CHECK(tell(&dp, 2, 8, 0, body, 12) == LIBCCP_BUFSIZE_TOO_SMALL);
	/* A program with more clauses than bytes. */
	body[0] = 1, body[1] = 0xffffffff, body[2] = 0;
	CHECK(tell(&dp, 2, 20, 0, body, 12) < 0);
	/* A program that was never installed, and a flow that is not there. */
	body[0] = 5, body[1] = 0;
	CHECK(tell(&dp, 4, 16, 0xdead, body, 8) < 0);
	CHECK(logged > 0);

	/* An agent that answers is asked to take the flows: one CREATE each. */
	sent = 0;
	clock_us += 2000000;
	for (i = 0; i < PLACES; i++)
		ccp_invoke(conn[i]);
	CHECK(sent > 0);

	/* A place is used again, the flow's number is not. */
	ccp_connection_free(&dp, 0);
	ccp_connection_free(&dp, PLACES + 1);
	i = conn[1]->index;
	first = 0;
	ccp_connection_free(&dp, (u16)i);
	if (kind() == 1)
		first = flow();
	CHECK(ccp_connection_lookup(&dp, (u16)i) == NULL);
	ccp_connection_free(&dp, (u16)i);
	conn[1] = ccp_connection_start(&dp, &window, &info);
	CHECK(conn[1] && conn[1]->index == i);
	CHECK(kind() != 0 || flow() != first);

	/* Nobody takes anything: flows go on. */
	fails = 1;
	for (i = 0; i < 100; i++) {
		clock_us += 20000;
		conn[0]->prims.snd_cwnd = window;
		CHECK(ccp_invoke(conn[0]) < 0);
	}
	CHECK(window > 14480);
	CHECK(!_check_fto(NULL));
	/* A timeout: one segment. */
	conn[0]->prims.was_timeout = true;
	conn[0]->prims.snd_cwnd = window;
	CHECK(ccp_invoke(conn[0]) < 0);
	CHECK(window == 1448);

	/* What was not closed is freed; twice is once. */
	ccp_free(&dp);
	ccp_free(&dp);
	CHECK(ccp_connection_lookup(&dp, 1) == NULL);
	CHECK(ccp_invoke(conn[0]) == LIBCCP_PRIV_IS_NULL);
	free(table);
	printf("compat: passed\n");
	return 0;
}
