/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * libccpdp: what a transport embeds to become a datapath of the congestion control plane.
 *
 * A transport measures and asks; the library runs the program that the daemon (ccpd) has chosen for the flow, says what window and rate come
 * of it, and hands out what goes to the daemon. Without a daemon, with one that is gone or does not answer, or with a program that faults,
 * a native law steers the flow from its present window.
 *
 * The library does no IO, reads no clock, starts no thread and allocates nothing per acknowledgement. `now_us` is any clock in microseconds
 * that all calls of one datapath share; it may not be 0 at the first call.
 *
 * Threads: a datapath may be used from any thread. A flow and a set of measurements belong to one thread at a time. The function of a sink
 * is called within the call that was given the sink, and must not call the library with that datapath or a flow of it: hand messages over
 * when the call has returned.
 */
#ifndef CCPDP_H
#define CCPDP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define CCPDP_OK 0
#define CCPDP_INVALID -1 /* a pointer is NULL, a name unknown, a number out of range */
#define CCPDP_REFUSED -2 /* a message that was not obeyed, and changed nothing; others in the same datagram may have been obeyed */
#define CCPDP_LIMIT -3   /* as many flows as the configuration allows */
#define CCPDP_BUG -4     /* an error in the library */

/* What went wrong last in this thread, in words. Valid until something else goes wrong in it. Never NULL. */
const char *ccpdp_last_error(void);

/* ---- where frames for the daemon go ---- */

#define CCPDP_SENT 0
#define CCPDP_FULL 1 /* no room now (EAGAIN): it is tried again later, reports merge */
#define CCPDP_GONE 2 /* nobody is there (ECONNREFUSED): flows run natively, and the daemon is looked for */

/* Takes a frame whole or not at all, one per datagram; must not block. */
typedef struct ccpdp_sink {
	int (*send)(void *user, const uint8_t *frame, size_t len);
	void *user;
} ccpdp_sink;

/* ---- the datapath ---- */

typedef struct ccpdp_datapath ccpdp_datapath;

#define CCPDP_UNIT_NONE 0
#define CCPDP_UNIT_BYTES 1
#define CCPDP_UNIT_PACKETS 2
#define CCPDP_UNIT_MICROS 3
#define CCPDP_UNIT_BYTES_PER_SECOND 4

/* A register beyond libccp's: a measurement such as "Utp.queue_delay_us", or something that programs may set. */
typedef struct ccpdp_register {
	const char *name;
	uint8_t boolean; /* 0: a number */
	uint8_t unit;    /* CCPDP_UNIT_* */
} ccpdp_register;

#define CCPDP_CUBIC 0
#define CCPDP_RENO 1

typedef struct ccpdp_config {
	uint32_t id;           /* what the datapath calls itself */
	uint64_t max_flows;    /* at once, 1 to 4,194,304 */
	uint64_t max_programs; /* kept at once, 1 to 65,536; of more, the one installed first is forgotten */
	uint32_t native;       /* CCPDP_CUBIC or CCPDP_RENO: what steers flows that no program steers */
	uint32_t max_fault_run; /* after so many faults in a row a program is taken off its flow; 0: never */
	uint64_t fault_pause_us; /* how long such a flow stays native */
	uint64_t unanswered_after_us; /* reports of a flow unanswered for so long: it alone falls back; 0: never */
	uint64_t unanswered_after_legacy_us; /* the same for a daemon without heartbeats */
	uint64_t ready_every_us;
	uint64_t announce_every_us;
	uint32_t announcements_per_second; /* when a daemon has come back */
	const ccpdp_register *primitives; /* beyond libccp's fifteen: their places begin at 15 */
	size_t primitives_count;
	const ccpdp_register *writables; /* beyond Cwnd and Rate: their places begin at 2 */
	size_t writables_count;
} ccpdp_config;

/* Fills in the defaults. Call it first, so that a later version's fields have theirs. */
void ccpdp_config_default(ccpdp_config *config);

/* NULL if something in the configuration is wrong; NULL stands for the defaults. */
ccpdp_datapath *ccpdp_datapath_new(const ccpdp_config *config);
/* Its flows live on until they are closed. */
void ccpdp_datapath_free(ccpdp_datapath *datapath);

typedef struct ccpdp_received {
	size_t messages;  /* obeyed; 0 if one was refused */
	uint32_t touched; /* flows that have something new: 0 none, 1 that one, 2 any may have */
	uint32_t sock_id; /* that one */
} ccpdp_received;

/* The daemon sent one or more messages. `received` may be NULL. */
int ccpdp_datapath_message(const ccpdp_datapath *datapath, uint64_t now_us, const uint8_t *bytes, size_t len, ccpdp_received *received);

/* Says READY as long as nobody answers. Call it at the start, and when the second says (UINT64_MAX: not before the next message). */
void ccpdp_datapath_timer(const ccpdp_datapath *datapath, uint64_t now_us, ccpdp_sink sink);
uint64_t ccpdp_datapath_next_timer(const ccpdp_datapath *datapath);

/* The place of a measurement or writable register by its name; negative if there is none. */
int ccpdp_datapath_primitive(const ccpdp_datapath *datapath, const char *name);
int ccpdp_datapath_writable(const ccpdp_datapath *datapath, const char *name);

bool ccpdp_datapath_is_steered(const ccpdp_datapath *datapath, uint64_t now_us);
size_t ccpdp_datapath_flow_count(const ccpdp_datapath *datapath);

/* ---- measurements ---- */

typedef struct ccpdp_measurements ccpdp_measurements;

/* libccp's, in every datapath. The library itself sets Ack.now (5) and Flow.was_timeout (14). */
enum ccpdp_primitive {
	CCPDP_BYTES_ACKED = 0,
	CCPDP_BYTES_MISORDERED = 1,
	CCPDP_ECN_BYTES = 2,
	CCPDP_ECN_PACKETS = 3,
	CCPDP_LOST_PACKETS = 4,
	CCPDP_PACKETS_ACKED = 6,
	CCPDP_PACKETS_MISORDERED = 7,
	CCPDP_BYTES_IN_FLIGHT = 8,
	CCPDP_BYTES_PENDING = 9,
	CCPDP_PACKETS_IN_FLIGHT = 10,
	CCPDP_RATE_INCOMING = 11,
	CCPDP_RATE_OUTGOING = 12,
	CCPDP_RTT_SAMPLE_US = 13, /* UINT64_MAX before the first */
};

/* Keep one per flow or per thread. */
ccpdp_measurements *ccpdp_measurements_new(const ccpdp_datapath *datapath);
void ccpdp_measurements_free(ccpdp_measurements *measurements);
/* Before each event: what was about the last one becomes 0, what is about the flow stays. */
void ccpdp_measurements_clear(ccpdp_measurements *measurements);
/* A place that does not exist is passed over. */
void ccpdp_measurements_set(ccpdp_measurements *measurements, uint16_t place, uint64_t value);
void ccpdp_measurements_add(ccpdp_measurements *measurements, uint16_t place, uint64_t value);
uint64_t ccpdp_measurements_get(const ccpdp_measurements *measurements, uint16_t place);

/* ---- flows ---- */

typedef struct ccpdp_flow ccpdp_flow;

typedef struct ccpdp_address {
	uint8_t ip[16]; /* network order; of IPv4 the first four */
	uint16_t port;  /* host order */
	uint8_t version; /* 4 or 6 */
} ccpdp_address;

typedef struct ccpdp_flow_spec {
	ccpdp_address src; /* local */
	ccpdp_address dst; /* remote */
	uint32_t mss;      /* largest segment, bytes, at least 1 */
	uint64_t init_cwnd_bytes; /* 0: ten segments */
	const char *requested; /* the algorithm that it asks for, or NULL */
	bool multipath;        /* it is one way of a connection that has several: */
	uint32_t connection;   /* which, by a number that all its flows and no others have */
	uint32_t path;         /* and which of its ways */
} ccpdp_flow_spec;

#define CCPDP_NATIVE 0   /* the native law: no program was chosen (yet) */
#define CCPDP_RUNNING 1  /* a program */
#define CCPDP_FALLBACK 2 /* the native law: the daemon is gone or does not answer, or the program faulted too often */

typedef struct ccpdp_decision {
	uint64_t cwnd_bytes; /* at least one segment */
	uint64_t rate_bytes_per_s; /* 0: none is set, the transport paces as it likes */
	int mode; /* CCPDP_NATIVE …; negative: something was NULL, and there is no decision */
} ccpdp_decision;

/* NULL: `error`, which may be NULL, says CCPDP_LIMIT or CCPDP_INVALID. */
ccpdp_flow *ccpdp_flow_open(const ccpdp_datapath *datapath, uint64_t now_us, const ccpdp_flow_spec *spec, ccpdp_sink sink, int *error);
/* Ends and frees it. */
void ccpdp_flow_close(ccpdp_flow *flow, ccpdp_sink sink);

/* An acknowledgement; a timeout; something was sent (for programs that want it). */
ccpdp_decision ccpdp_flow_ack(ccpdp_flow *flow, uint64_t now_us, const ccpdp_measurements *measurements, ccpdp_sink sink);
ccpdp_decision ccpdp_flow_timeout(ccpdp_flow *flow, uint64_t now_us, const ccpdp_measurements *measurements, ccpdp_sink sink);
ccpdp_decision ccpdp_flow_sent(ccpdp_flow *flow, uint64_t now_us, const ccpdp_measurements *measurements, ccpdp_sink sink);
bool ccpdp_flow_wants_sends(const ccpdp_flow *flow);

/* When the time of the second has come (UINT64_MAX: never), or the daemon said something to the flow. */
ccpdp_decision ccpdp_flow_timer(ccpdp_flow *flow, uint64_t now_us, ccpdp_sink sink);
uint64_t ccpdp_flow_next_timer(const ccpdp_flow *flow);

uint32_t ccpdp_flow_sock_id(const ccpdp_flow *flow);
ccpdp_decision ccpdp_flow_decision(const ccpdp_flow *flow);
uint64_t ccpdp_flow_writable(const ccpdp_flow *flow, uint16_t place);

void ccpdp_flow_set_mss(ccpdp_flow *flow, uint32_t mss);
/* The transport set the window itself, for example after an idle time. */
void ccpdp_flow_set_cwnd(ccpdp_flow *flow, uint64_t cwnd_bytes);
int ccpdp_flow_change_path(ccpdp_flow *flow, const ccpdp_address *src, const ccpdp_address *dst, uint32_t mss, uint64_t cwnd_bytes);

#ifdef __cplusplus
}
#endif

#endif
