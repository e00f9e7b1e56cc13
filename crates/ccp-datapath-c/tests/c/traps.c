/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Ten traps that libccp 1.2 falls into: traps NUMBER ends well if the library does what its documents say. Linked with libccp each ends
 * badly: with another result, with an error of the sanitizer, or by the alarm.
 */
#include <unistd.h>

#include "fixture.h"

static u32 window, sid, creates, reports;
static u64 reported;
static struct ccp_datapath dp;
static struct ccp_connection *conn;
static struct ccp_datapath_info info;

static void set_cwnd(struct ccp_connection *c, u32 cwnd)
{
	(void)c;
	window = cwnd;
}

static void set_rate(struct ccp_connection *c, u32 rate)
{
	(void)c;
	(void)rate;
}

static int send_msg(struct ccp_datapath *d, char *msg, int size)
{
	u32 count;

	(void)d;
	(void)size;
	switch ((u8)msg[0]) {
	case 0:
		creates++;
		memcpy(&sid, msg + 4, 4);
		break;
	case 1:
		memcpy(&count, msg + 12, 4);
		if (count) {
			reports++;
			memcpy(&reported, msg + 16, 8);
		}
	}
	return 0;
}

static int tell(void)
{
	end();
	return ccp_read_msg(&dp, message, len);
}

static int change_program(u32 uid)
{
	begin(4, sid);
	put(uid, 4);
	put(0, 4);
	return tell();
}

static int update(u8 class, u32 index, u64 value)
{
	begin(3, sid);
	put(1, 4);
	put_field(class, index, value);
	return tell();
}

/* ---- programs: one report variable, and clauses that are always true ---- */

static void program(u32 start)
{
	code.count = code.clauses = 0;
	add(DEF, REPORT, 0, REPORT, 0, IMMEDIATE, start);
}

static void always(void)
{
	clause();
	flag(EVENT_FLAG);
	body();
}

static void plus(u32 value)
{
	add(ADD, REPORT, 0, REPORT, 0, IMMEDIATE, value);
}

static int install(u32 uid)
{
	put_install(uid);
	return tell();
}

/* A program that reports `value` at each acknowledgement. */
static void says(u32 uid, u32 value)
{
	program(value);
	always();
	add(BIND, REPORT, 0, IMMEDIATE, 0, IMMEDIATE, value);
	flag(SHOULD_REPORT);
	install(uid);
}

static void ack(void)
{
	clock_us += 10000;
	conn->prims.bytes_acked = MSS;
	conn->prims.packets_acked = 1;
	conn->prims.rtt_sample_us = 10000;
	conn->prims.bytes_in_flight = conn->prims.snd_cwnd = window;
	ccp_invoke(conn);
}

/* ---- the traps ---- */

/* A clause that falls through does not make the next ones do so. */
static int fallthrough(void)
{
	program(0);
	always();
	flag(SHOULD_CONTINUE);
	always();
	plus(1);
	flag(SHOULD_REPORT);
	always();
	plus(100);
	install(1);
	change_program(1);
	ack();
	return reported == 1;
}

/* What portus' compiler takes, 16 intermediate results, the datapath has room for. */
static int temporaries(void)
{
	program(0);
	always();
	add(ADD, TEMP, 9, IMMEDIATE, 1, IMMEDIATE, 2);
	add(BIND, REPORT, 0, IMMEDIATE, 0, TEMP, 9);
	flag(SHOULD_REPORT);
	install(1);
	change_program(1);
	ack();
	return reported == 3;
}

/* A program of 256 instructions is refused, or comes to an end. */
static int length(void)
{
	program(0);
	always();
	while (code.count < 255)
		plus(1);
	flag(SHOULD_REPORT);
	if (install(1) < 0)
		return 1;
	change_program(1);
	ack();
	return reported == 253;
}

/* An update of a register that is not there is refused. */
static int index_beyond(void)
{
	says(1, 7);
	change_program(1);
	ack();
	return update(CONTROL, 200, 1) < 0 && update(CONTROL, 0x40000000, 1) < 0;
}

/* A program larger than the library has room for overwrites nothing. */
static int size(void)
{
	program(0);
	always();
	while (code.count < 601)
		plus(1);
	flag(SHOULD_REPORT);
	if (install(1) < 0)
		return 1;
	change_program(1);
	ack();
	return reported == 599;
}

/* A flow never runs what it was not given, whatever number it has. */
static int restart(void)
{
	says(1, 1);
	says(2, 2);
	change_program(2);
	ack();
	if (reported != 2)
		return 0;
	/* Another agent, with programs of its own, that does not know the flow. */
	says(1, 11);
	says(2, 22);
	ack();
	ack();
	return reported == 2;
}

/* An agent that is there and says nothing does not leave the window as it is for ever. */
static int hung(void)
{
	u32 before, i;

	says(1, 7);
	change_program(1);
	ack();
	before = window;
	for (i = 0; i < 2000; i++)
		ack();
	return window != before;
}

/* An update is not lost because a program follows. */
static int update_first(void)
{
	says(1, 7);
	update(IMPLICIT, CWND, 50 * MSS);
	change_program(1);
	ack();
	return window == 50 * MSS;
}

/* A place that is used again at once is announced at once. */
static int reuse(void)
{
	says(1, 7);
	change_program(1);
	ack();
	ccp_connection_free(&dp, conn->index);
	creates = 0;
	conn = ccp_connection_start(&dp, NULL, &info);
	return conn && creates == 1;
}

/* A default is that number. */
static int number(void)
{
	program(0x3fffffff);
	always();
	flag(SHOULD_REPORT);
	install(1);
	change_program(1);
	ack();
	return reported == 0x3fffffff;
}

int main(int argc, char **argv)
{
	static int (*const traps[])(void) = {fallthrough, temporaries, length, index_beyond, size, restart, hung, update_first, reuse, number};
	static struct ccp_connection table[1];
	int which = argc == 2 ? atoi(argv[1]) : 0;

	if (which < 1 || which > 10)
		return 2;
	alarm(5);
	prepare(&dp, table, 1, 10, 1000000);
	if (ccp_init(&dp, 7) < 0)
		return 2;
	info = a_flow();
	window = info.init_cwnd;
	conn = ccp_connection_start(&dp, NULL, &info);
	if (!conn)
		return 2;
	/* Somebody is there, so that the flow is announced, if it is not yet. */
	says(1, 0);
	ack();
	if (!traps[which - 1]()) {
		printf("trap %d: reported %llu, window %u, %u announcements\n", which, (unsigned long long)reported, (unsigned)window, (unsigned)creates);
		return 1;
	}
	ccp_free(&dp);
	return 0;
}
