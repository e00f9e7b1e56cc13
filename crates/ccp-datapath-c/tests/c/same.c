/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * A deterministic agent and transport in one, on libccp's interface: same SEED. It says what came of random programs, acknowledgements and
 * updates; linked with libccp and with libccpdp it says the same. It keeps to what libccp does soundly: lengths and indices that are right,
 * products and averages that fit, clauses of which all fall through or none does.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ccp.h"

#define MSS 1448
#define FLOWS 3
#define PROGRAMS 8
#define VARIABLES 4

enum { CONTROL, IMMEDIATE, IMPLICIT, LOCAL, PRIMITIVE, VOLATILE_REPORT, REPORT, TEMP, VOLATILE_CONTROL };
enum { ADD, BIND, DEF, DIV, EQUIV, EWMA, GT, IF, LT, MAX, WRAPPED_MAX, MIN, MUL, NOT_IF, SUB };
enum { EVENT_FLAG, SHOULD_CONTINUE, SHOULD_REPORT, MICROS, CWND, RATE };

static u64 clock_us = 1000000, state;
static u32 created;
static struct transport {
	struct ccp_connection *conn;
	u32 sid, window, rate;
} flows[FLOWS];
/* Which variables of a program are volatile: bits of its number. */
static u32 volatiles[PROGRAMS + 1];
/* Whether the program that is being made has local variables. */
static u32 locals;

static u32 below(u32 end)
{
	state = state * 6364136223846793005u + 1442695040888963407u;
	return (u32)(state >> 33) % end;
}

static void set_cwnd(struct ccp_connection *conn, u32 cwnd)
{
	((struct transport *)ccp_get_impl(conn))->window = cwnd;
}

static void set_rate(struct ccp_connection *conn, u32 rate)
{
	((struct transport *)ccp_get_impl(conn))->rate = rate;
}

static u32 word(const char *at)
{
	u32 value;

	memcpy(&value, at, 4);
	return value;
}

/* What is beyond libccp's part of a message is not looked at: an agent made for libccp passes over it. */
static int send_msg(struct ccp_datapath *dp, char *msg, int size)
{
	u32 i, count;

	(void)dp;
	switch (word(msg) & 0xffff) {
	case 0:
		created = word(msg + 4);
		printf("create: %u %u, %08x:%x %08x:%x, %.64s\n", (unsigned)word(msg + 8), (unsigned)word(msg + 12), (unsigned)word(msg + 16),
		       (unsigned)word(msg + 20), (unsigned)word(msg + 24), (unsigned)word(msg + 28), msg + 32);
		break;
	case 1:
		for (i = 0; i < FLOWS && flows[i].sid != word(msg + 4); i++)
			;
		count = word(msg + 12);
		if (!count) {
			printf("end of %u\n", (unsigned)i);
			break;
		}
		printf("report of %u: program %u:", (unsigned)i, (unsigned)word(msg + 8));
		for (i = 0; i < count && 16 + 8 * (int)i < size; i++) {
			u64 value;

			memcpy(&value, msg + 16 + 8 * i, 8);
			printf(" %llu", (unsigned long long)value);
		}
		printf("\n");
		break;
	case 5:
		printf("ready: %u\n", (unsigned)word(msg + 8));
	}
	return 0;
}

/* On standard error, which is not compared. */
static void log_it(struct ccp_datapath *dp, enum ccp_log_level level, const char *msg, int size)
{
	(void)dp;
	(void)level;
	(void)size;
	fprintf(stderr, "%s\n", msg);
}

static u64 now(void)
{
	return clock_us;
}

static u64 since_usecs(u64 then)
{
	return clock_us - then;
}

static u64 after_usecs(u64 usecs)
{
	return clock_us + usecs;
}

/* ---- messages ---- */

static char message[16384];
static u16 len;

static void put(u64 value, u16 bytes)
{
	memcpy(message + len, &value, bytes); /* little endian, as all that libccp runs on */
	len = (u16)(len + bytes);
}

static void begin(u16 type, u32 sid)
{
	len = 0;
	put(type, 2);
	put(0, 2);
	put(sid, 4);
}

static void tell(struct ccp_datapath *dp)
{
	int result;

	memcpy(message + 2, &len, 2);
	result = ccp_read_msg(dp, message, len);
	if (result < 0) {
		printf("refused: %d\n", result);
		exit(1);
	}
}

static void field(u8 class, u32 index, u64 value)
{
	put(class, 1);
	put(index, 4);
	put(value, 8);
}

/* ---- programs ---- */

struct reg {
	u8 class;
	u32 index;
};

static struct {
	char bytes[4096];
	u32 count;
} code;

static void add(u8 op, struct reg ret, struct reg left, struct reg right)
{
	char *at = code.bytes + 16 * code.count++;
	struct reg all[3];
	int i;

	all[0] = ret, all[1] = left, all[2] = right;
	at[0] = (char)op;
	for (i = 0; i < 3; i++) {
		at[1 + 5 * i] = (char)all[i].class;
		memcpy(at + 2 + 5 * i, &all[i].index, 4);
	}
}

static struct reg reg(u8 class, u32 index)
{
	struct reg made;

	made.class = class, made.index = index;
	return made;
}

static struct reg imm(u32 value)
{
	return reg(IMMEDIATE, value);
}

static struct reg variable(u32 uid, u32 index)
{
	int is_volatile = volatiles[uid] >> index & 1;

	if (index < VARIABLES)
		return reg(is_volatile ? VOLATILE_REPORT : REPORT, index);
	return reg(is_volatile ? VOLATILE_CONTROL : CONTROL, index - VARIABLES);
}

static struct reg operand(u32 uid)
{
	u32 measured = below(15);

	switch (below(6)) {
	case 0:
		return imm(below(20000));
	case 1:
		/* Ack.now (5) is one more here, where no time is 0. */
		return reg(PRIMITIVE, measured == 5 ? 6 : measured);
	case 2:
		return locals ? reg(LOCAL, below(3)) : imm(below(3));
	case 3:
		return reg(IMPLICIT, MICROS + below(3));
	default:
		return variable(uid, below(2 * VARIABLES));
	}
}

static void statement(u32 uid)
{
	static const u8 ops[] = {ADD, SUB, DIV, EQUIV, GT, LT, MAX, MIN, WRAPPED_MAX, ADD, MAX, MIN};
	struct reg temp = reg(TEMP, below(8)), to = below(3) ? variable(uid, 1 + below(VARIABLES - 1)) : reg(locals ? LOCAL : TEMP, below(3));

	switch (below(9)) {
	case 0:
		/* Averages of what is small: the library does not look whether they fit. */
		add(EWMA, variable(uid, 0), imm(below(11)), reg(PRIMITIVE, below(2) ? 13 : 0));
		return;
	case 1:
		add(MIN, temp, operand(uid), imm(1000000));
		add(MUL, to, temp, imm(below(1000)));
		return;
	case 2:
		add(MIN, temp, operand(uid), imm(1000000));
		add(MAX, temp, temp, imm(MSS));
		add(BIND, reg(IMPLICIT, CWND), imm(0), temp);
		return;
	case 3:
		add(MIN, temp, operand(uid), imm(2000000000));
		add(MAX, reg(IMPLICIT, RATE), temp, imm(1000));
		return;
	case 4:
		add(GT, temp, operand(uid), operand(uid));
		add(below(2) ? IF : NOT_IF, to, temp, operand(uid));
		return;
	case 5:
		if (!below(4)) {
			add(BIND, reg(IMPLICIT, MICROS), imm(0), imm(below(2) * below(1000)));
			return;
		}
		/* fall through */
	default:
		add(ops[below(sizeof ops)], temp, operand(uid), operand(uid));
		add(ops[below(sizeof ops)], to, temp, below(2) ? operand(uid) : imm(1 + below(9)));
	}
}

static void install(struct ccp_datapath *dp, u32 uid)
{
	u32 clauses = 1 + below(4), clause, part[4][4], i;
	u32 falls = locals = below(2);

	volatiles[uid] = below(256);
	code.count = 0;
	for (i = 0; i < 2 * VARIABLES; i++)
		add(DEF, variable(uid, i), variable(uid, i), imm(below(3) ? below(100000) : 0));
	for (clause = 0; clause < clauses; clause++) {
		part[clause][0] = code.count;
		if (falls && !clause)
			add(BIND, reg(IMPLICIT, EVENT_FLAG), imm(0), imm(1));
		else if (below(3))
			add(below(2) ? GT : LT, reg(IMPLICIT, EVENT_FLAG), operand(uid), operand(uid));
		else
			add(BIND, reg(IMPLICIT, EVENT_FLAG), imm(0), below(4) ? imm(1) : reg(PRIMITIVE, 14));
		part[clause][1] = code.count - part[clause][0];
		part[clause][2] = code.count;
		/* libccp does not set local variables to anything at the start. */
		for (i = 0; falls && !clause && i < 3; i++)
			add(BIND, reg(LOCAL, i), imm(0), variable(uid, i));
		for (i = below(6); i; i--)
			statement(uid);
		if (!below(3))
			add(BIND, reg(IMPLICIT, SHOULD_REPORT), imm(0), imm(1));
		if (falls || code.count == part[clause][2])
			add(BIND, reg(IMPLICIT, falls ? SHOULD_CONTINUE : SHOULD_REPORT), imm(0), imm(1));
		part[clause][3] = code.count - part[clause][2];
	}
	begin(2, 0);
	put(uid, 4);
	put(clauses, 4);
	put(code.count, 4);
	for (i = 0; i < 4 * clauses; i++)
		put(part[i / 4][i % 4], 4);
	memcpy(message + len, code.bytes, 16 * code.count);
	len = (u16)(len + 16 * code.count);
	tell(dp);
}

/* ---- what happens ---- */

static void fields(u32 uid)
{
	u32 i, count = below(4);

	put(count, 4);
	for (i = 0; i < count; i++) {
		if (below(2))
			field(IMPLICIT, CWND, MSS + below(1000000));
		else if (below(2))
			field(IMPLICIT, RATE, 1 + below(1000000000));
		else {
			struct reg control = variable(uid, VARIABLES + below(VARIABLES));

			field(control.class, control.index, below(1000000));
		}
	}
}

static void start(struct ccp_datapath *dp, u32 i)
{
	struct ccp_datapath_info info;
	struct transport *flow = &flows[i];

	memset(&info, 0, sizeof info);
	info.init_cwnd = 10 * MSS;
	info.mss = MSS;
	info.src_ip = 0x0100007f + (i << 24);
	/* Alike in both orders of bytes: libccp passes on what it is given, here it is in network order. */
	info.src_port = 0x5050;
	info.dst_ip = 0x0200007f;
	info.dst_port = 0x5151;
	strcpy(info.congAlg, "cubic");
	flow->window = info.init_cwnd, flow->rate = 0;
	flow->conn = ccp_connection_start(dp, flow, &info);
	if (!flow->conn)
		exit(1);
	flow->sid = created;
}

static int acknowledge(struct transport *flow)
{
	struct ccp_primitives *prims = &flow->conn->prims;
	u32 packets = below(4);
	int result;

	prims->bytes_acked = packets * MSS;
	prims->packets_acked = packets;
	prims->packets_misordered = below(2);
	prims->bytes_misordered = prims->packets_misordered * MSS;
	prims->ecn_packets = below(2);
	prims->ecn_bytes = prims->ecn_packets * MSS;
	prims->lost_pkts_sample = !below(8);
	/* A window that the transport halves by itself is not compared: programs say what they want at a timeout. */
	prims->was_timeout = !below(10);
	prims->rtt_sample_us = 5000 + below(20000);
	prims->rate_outgoing = 100000 + below(1000000);
	prims->rate_incoming = 100000 + below(1000000);
	prims->packets_in_flight = below(20);
	prims->bytes_in_flight = prims->packets_in_flight * MSS;
	prims->bytes_pending = below(100000);
	prims->snd_cwnd = flow->window;
	prims->snd_rate = flow->rate;
	result = ccp_invoke(flow->conn);
	printf("%u: %d, window %u, rate %u\n", (unsigned)(flow - flows), result, (unsigned)flow->window, (unsigned)flow->rate);
	return result;
}

int main(int argc, char **argv)
{
	static struct ccp_connection table[FLOWS];
	struct ccp_datapath dp;
	u32 round, i, turn;

	if (argc != 2)
		return 2;
	state = strtoull(argv[1], NULL, 10);
	memset(&dp, 0, sizeof dp);
	dp.set_cwnd = set_cwnd;
	dp.set_rate_abs = set_rate;
	dp.send_msg = send_msg;
	dp.log = log_it;
	dp.now = now;
	dp.since_usecs = since_usecs;
	dp.after_usecs = after_usecs;
	dp.max_connections = FLOWS;
	dp.ccp_active_connections = table;
	dp.max_programs = PROGRAMS + 2;
	dp.fto_us = 1000000;
	if (ccp_init(&dp, 0xaa) != 0)
		return 2;
	for (round = 0; round < 50; round++) {
		/* Number 1 makes both forget the others. */
		for (i = 1; i <= PROGRAMS; i++)
			install(&dp, i);
		for (i = 0; i < FLOWS; i++) {
			u32 uid = 1 + below(PROGRAMS);

			clock_us += 1000000;
			if (flows[i].conn && below(2)) {
				ccp_connection_free(&dp, flows[i].conn->index);
				flows[i].conn = NULL;
			}
			if (!flows[i].conn)
				start(&dp, i);
			begin(4, flows[i].sid);
			put(uid, 4);
			fields(uid);
			tell(&dp);
			for (turn = 0; turn < 40; turn++) {
				clock_us += below(20000);
				/* A fault undoes the invocation here, and does not there. */
				if (acknowledge(&flows[i]) < 0)
					break;
				if (!below(8)) {
					begin(3, flows[i].sid);
					fields(uid);
					tell(&dp);
					/* Such an update would be lost there if another program came first. */
					if (turn == 39)
						acknowledge(&flows[i]);
				}
			}
		}
	}
	for (i = 0; i < FLOWS; i++)
		ccp_connection_free(&dp, flows[i].conn->index);
	ccp_free(&dp);
	return 0;
}
