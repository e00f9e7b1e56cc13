/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* No memory is allocated at an acknowledgement: natively, by a program, with a report or without. Linked with --wrap for each that allocates. */
#include "fixture.h"

static unsigned long allocations, reports;
static u32 sid;

void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *old, size_t size);
int __real_posix_memalign(void **to, size_t align, size_t size);

void *__wrap_malloc(size_t size)
{
	allocations++;
	return __real_malloc(size);
}

void *__wrap_calloc(size_t count, size_t size)
{
	allocations++;
	return __real_calloc(count, size);
}

void *__wrap_realloc(void *old, size_t size)
{
	allocations++;
	return __real_realloc(old, size);
}

int __wrap_posix_memalign(void **to, size_t align, size_t size)
{
	allocations++;
	return __real_posix_memalign(to, align, size);
}

static void set_cwnd(struct ccp_connection *conn, u32 cwnd)
{
	(void)conn;
	(void)cwnd;
}

static void set_rate(struct ccp_connection *conn, u32 rate)
{
	(void)conn;
	(void)rate;
}

static int send_msg(struct ccp_datapath *dp, char *msg, int size)
{
	(void)dp;
	(void)size;
	if (msg[0] == 0)
		memcpy(&sid, msg + 4, 4);
	reports += msg[0] == 1;
	return 0;
}

static unsigned long acknowledge(struct ccp_connection *conn, int result)
{
	unsigned long before = allocations, i;

	for (i = 0; i < 1000; i++) {
		clock_us += 1000;
		conn->prims.bytes_acked = MSS;
		conn->prims.rtt_sample_us = 20000;
		CHECK(ccp_invoke(conn) == result);
	}
	return allocations - before;
}

int main(void)
{
	/* Number 7, two clauses: (def (Report (volatile x 0))) (when (> Ack.bytes_acked 0) (:= Report.x (+ Report.x Ack.bytes_acked))
	 * (fallthrough)) (when (> Report.x 10000) (report)) */
	static char program[] = {
		2, 0, 20 + 32 + 96, 0, 0, 0, 0, 0, 7, 0, 0, 0, 2, 0, 0, 0, 6, 0, 0, 0,
		1, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 2, 0, 0, 0,
		4, 0, 0, 0, 1, 0, 0, 0, 5, 0, 0, 0, 1, 0, 0, 0,
		2, 5, 0, 0, 0, 0, 5, 0, 0, 0, 0, 1, 0, 0, 0, 0,
		6, 2, 0, 0, 0, 0, 4, 0, 0, 0, 0, 1, 0, 0, 0, 0,
		0, 5, 0, 0, 0, 0, 5, 0, 0, 0, 0, 4, 0, 0, 0, 0,
		1, 2, 1, 0, 0, 0, 2, 1, 0, 0, 0, 1, 1, 0, 0, 0,
		6, 2, 0, 0, 0, 0, 5, 0, 0, 0, 0, 1, 0x10, 0x27, 0, 0,
		1, 2, 2, 0, 0, 0, 2, 2, 0, 0, 0, 1, 1, 0, 0, 0,
	};
	char change[] = {4, 0, 16, 0, 0, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0};
	static struct ccp_connection table[1];
	struct ccp_datapath dp;
	struct ccp_datapath_info info = a_flow();
	struct ccp_connection *conn;

	prepare(&dp, table, 1, 2, 1000);
	CHECK(ccp_init(&dp, 0) == LIBCCP_OK);
	CHECK(ccp_read_msg(&dp, program, sizeof program) == LIBCCP_OK);
	conn = ccp_connection_start(&dp, NULL, &info);
	CHECK(conn && allocations > 0);
	memcpy(change + 4, &sid, 4);
	CHECK(ccp_read_msg(&dp, change, sizeof change) == LIBCCP_OK);
	/* The first starts the program. */
	CHECK(ccp_invoke(conn) == LIBCCP_OK);
	CHECK(acknowledge(conn, LIBCCP_OK) == 0);
	CHECK(reports > 100);
	/* None. */
	ccp_connection_free(&dp, conn->index);
	conn = ccp_connection_start(&dp, NULL, &info);
	CHECK(conn);
	/* Announcements that nobody answers are made anew, seldom. */
	CHECK(acknowledge(conn, LIBCCP_PROG_IS_NULL) < 100);
	ccp_free(&dp);
	printf("quiet: passed\n");
	return 0;
}
