/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * A deterministic agent and transport in one, on libccp's interface: same SEED. It says what came of random programs, acknowledgements and
 * updates; linked with libccp and with libccpdp it says the same. It keeps to what libccp does soundly: lengths and indices that are right,
 * products and averages that fit, clauses of which all fall through or none does.
 */
#include "fixture.h"

#define FLOWS 3
#define PROGRAMS 8
#define VARIABLES 4

static u32 created;
static struct transport {
	struct ccp_connection *conn;
	u32 sid, window, rate;
} flows[FLOWS];
/* Which variables of a program are volatile: bits of its number. */
static u32 volatiles[PROGRAMS + 1];
/* Whether the program that is being made has local variables. */
static u32 locals;

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

static void tell(struct ccp_datapath *dp)
{
	int result;

	end();
	result = ccp_read_msg(dp, message, len);
	if (result < 0) {
		printf("refused: %d\n", result);
		exit(1);
	}
}

/* ---- programs ---- */

struct reg {
	u8 class;
	u32 index;
};

static void op(u8 which, struct reg to, struct reg a, struct reg b)
{
	add(which, to.class, to.index, a.class, a.index, b.class, b.index);
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
		op(EWMA, variable(uid, 0), imm(below(11)), reg(PRIMITIVE, below(2) ? 13 : 0));
		return;
	case 1:
		op(MIN, temp, operand(uid), imm(1000000));
		op(MUL, to, temp, imm(below(1000)));
		return;
	case 2:
		op(MIN, temp, operand(uid), imm(1000000));
		op(MAX, temp, temp, imm(MSS));
		op(BIND, reg(IMPLICIT, CWND), imm(0), temp);
		return;
	case 3:
		op(MIN, temp, operand(uid), imm(2000000000));
		op(MAX, reg(IMPLICIT, RATE), temp, imm(1000));
		return;
	case 4:
		op(GT, temp, operand(uid), operand(uid));
		op(below(2) ? IF : NOT_IF, to, temp, operand(uid));
		return;
	case 5:
		if (!below(4)) {
			op(BIND, reg(IMPLICIT, MICROS), imm(0), imm(below(2) * below(1000)));
			return;
		}
		/* fall through */
	default:
		op(ops[below(sizeof ops)], temp, operand(uid), operand(uid));
		op(ops[below(sizeof ops)], to, temp, below(2) ? operand(uid) : imm(1 + below(9)));
	}
}

static void install(struct ccp_datapath *dp, u32 uid)
{
	u32 clauses = 1 + below(4), i;
	u32 falls = locals = below(2);

	volatiles[uid] = below(256);
	code.count = code.clauses = 0;
	for (i = 0; i < 2 * VARIABLES; i++)
		op(DEF, variable(uid, i), variable(uid, i), imm(below(3) ? below(100000) : 0));
	while (code.clauses < clauses) {
		int first = !code.clauses;
		u32 start;

		clause();
		if (falls && first)
			flag(EVENT_FLAG);
		else if (below(3))
			op(below(2) ? GT : LT, reg(IMPLICIT, EVENT_FLAG), operand(uid), operand(uid));
		else
			op(BIND, reg(IMPLICIT, EVENT_FLAG), imm(0), below(4) ? imm(1) : reg(PRIMITIVE, 14));
		body();
		start = code.count;
		/* libccp does not set local variables to anything at the start. */
		for (i = 0; falls && first && i < 3; i++)
			op(BIND, reg(LOCAL, i), imm(0), variable(uid, i));
		for (i = below(6); i; i--)
			statement(uid);
		if (!below(3))
			flag(SHOULD_REPORT);
		if (falls || code.count == start)
			flag(falls ? SHOULD_CONTINUE : SHOULD_REPORT);
	}
	put_install(uid);
	tell(dp);
}

/* ---- what happens ---- */

static void fields(u32 uid)
{
	u32 i, count = below(4);

	put(count, 4);
	for (i = 0; i < count; i++) {
		if (below(2))
			put_field(IMPLICIT, CWND, MSS + below(1000000));
		else if (below(2))
			put_field(IMPLICIT, RATE, 1 + below(1000000000));
		else {
			struct reg control = variable(uid, VARIABLES + below(VARIABLES));

			put_field(control.class, control.index, below(1000000));
		}
	}
}

static void start(struct ccp_datapath *dp, u32 i)
{
	struct ccp_datapath_info info = a_flow();
	struct transport *flow = &flows[i];

	info.src_ip += i << 24;
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
	prepare(&dp, table, FLOWS, PROGRAMS + 2, 1000000);
	dp.log = log_it;
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
