/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * What the datapaths of these tests have in common: a clock that stands where `clock_us` says (with REAL_CLOCK, the machine's), the
 * functions that libccp calls, messages of an agent, and random numbers that are always the same. A test says itself what becomes of
 * window, rate and messages: set_cwnd, set_rate and send_msg.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "ccp.h"

#define CHECK(what) \
	do { \
		if (!(what)) { \
			printf("%s:%d: %s\n", __FILE__, __LINE__, #what); \
			exit(1); \
		} \
	} while (0)

#define MSS 1448

static void set_cwnd(struct ccp_connection *conn, u32 cwnd);
static void set_rate(struct ccp_connection *conn, u32 rate);
static int send_msg(struct ccp_datapath *dp, char *msg, int size);

#ifdef REAL_CLOCK
static u64 now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (u64)t.tv_sec * 1000000 + (u64)t.tv_nsec / 1000;
}
#else
static u64 clock_us = 1000000;

static u64 now(void)
{
	return clock_us;
}
#endif

static u64 since_usecs(u64 then)
{
	return now() - then;
}

static u64 after_usecs(u64 usecs)
{
	return now() + usecs;
}

/* All that ccp_init wants to be told, with room for so many flows and programs. */
static inline void prepare(struct ccp_datapath *dp, struct ccp_connection *table, size_t flows, size_t programs, u64 fto_us)
{
	memset(dp, 0, sizeof *dp);
	dp->set_cwnd = set_cwnd;
	dp->set_rate_abs = set_rate;
	dp->send_msg = send_msg;
	dp->now = now;
	dp->since_usecs = since_usecs;
	dp->after_usecs = after_usecs;
	dp->max_connections = flows;
	dp->ccp_active_connections = table;
	dp->max_programs = programs;
	dp->fto_us = fto_us;
}

/*
 * A flow with a window of ten segments between two addresses of this machine. Ports are alike in both orders of bytes: libccp
 * passes on what it is given, here it is in network order.
 */
static inline struct ccp_datapath_info a_flow(void)
{
	struct ccp_datapath_info info;

	memset(&info, 0, sizeof info);
	info.init_cwnd = 10 * MSS;
	info.mss = MSS;
	info.src_ip = 0x0100007f;
	info.src_port = 0x5050;
	info.dst_ip = 0x0200007f;
	info.dst_port = 0x5151;
	return info;
}

static u64 state;

/* A number from 0 to less than `end`, by chance; `state` says where the row of them begins. */
static inline u32 below(u32 end)
{
	state = state * 6364136223846793005u + 1442695040888963407u;
	return (u32)(state >> 33) % end;
}

/* ---- a message of the agent, which is being written ---- */

static char message[32768];
static int len;

/* Little endian, as all that libccp runs on. */
static inline void put(u64 value, int bytes)
{
	memcpy(message + len, &value, (size_t)bytes);
	len += bytes;
}

/* `type`: 2 INSTALL, 3 UPDATE_FIELDS, 4 CHANGE_PROG. */
static inline void begin(u16 type, u32 sid)
{
	len = 0;
	put(type, 2);
	put(0, 2);
	put(sid, 4);
}

/* Writes into the header how long the message is. */
static inline void end(void)
{
	memcpy(message + 2, &len, 2);
}

/* A register that is set, as both messages for flows have them. */
static inline void put_field(u8 class, u32 index, u64 value)
{
	put(class, 1);
	put(index, 4);
	put(value, 8);
}

/* ---- a program, which is being written ---- */

enum { CONTROL, IMMEDIATE, IMPLICIT, LOCAL, PRIMITIVE, VOLATILE_REPORT, REPORT, TEMP, VOLATILE_CONTROL };
enum { ADD, BIND, DEF, DIV, EQUIV, EWMA, GT, IF, LT, MAX, WRAPPED_MAX, MIN, MUL, NOT_IF, SUB };
enum { EVENT_FLAG, SHOULD_CONTINUE, SHOULD_REPORT, MICROS, CWND, RATE };

static struct {
	char bytes[16000];
	u32 count;
	/* Of each clause: where its condition begins, how long it is, and where its body begins. */
	u32 clause[4][3], clauses;
} code;

static inline void add(u8 op, u8 to, u32 to_index, u8 a, u32 a_index, u8 b, u32 b_index)
{
	char *at = code.bytes + 16 * code.count++;

	at[0] = (char)op;
	at[1] = (char)to, at[6] = (char)a, at[11] = (char)b;
	memcpy(at + 2, &to_index, 4);
	memcpy(at + 7, &a_index, 4);
	memcpy(at + 12, &b_index, 4);
}

/* A flag is set. */
static inline void flag(u32 which)
{
	add(BIND, IMPLICIT, which, IMMEDIATE, 0, IMMEDIATE, 1);
}

/* What comes now is the condition of another clause, until body(). */
static inline void clause(void)
{
	code.clause[code.clauses++][0] = code.count;
}

static inline void body(void)
{
	u32 *of = code.clause[code.clauses - 1];

	of[1] = code.count - of[0];
	of[2] = code.count;
}

/* The message that installs the program. */
static inline void put_install(u32 uid)
{
	u32 i;

	begin(2, 0);
	put(uid, 4);
	put(code.clauses, 4);
	put(code.count, 4);
	for (i = 0; i < code.clauses; i++) {
		const u32 *of = code.clause[i];
		u32 ends = i + 1 < code.clauses ? code.clause[i + 1][0] : code.count;

		put(of[0], 4);
		put(of[1], 4);
		put(of[2], 4);
		put(ends - of[2], 4);
	}
	memcpy(message + len, code.bytes, 16 * code.count);
	len += (int)(16 * code.count);
}
