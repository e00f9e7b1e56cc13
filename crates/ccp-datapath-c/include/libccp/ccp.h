/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * libccp's public interface (libccp 1.2), served by libccpdp: a datapath written for libccp compiles and links against this one instead.
 *
 * What is better here: flows are steered from their first acknowledgement on (by CUBIC where no program is) and never left with the window
 * that they have; announcements are repeated until they are answered; a restarted agent gets every living flow; a message is verified as a
 * whole, and a refused one changes nothing; the table need not be zeroed.
 *
 * One thread at a time per datapath. For more, and for measurements of one's own, see ccpdp.h.
 */
#ifndef CCP_H
#define CCP_H

#include <stdbool.h>
#include <stddef.h>

#include "types.h"

#ifdef __cplusplus
extern "C" {
#endif

/* What was measured since the last ccp_invoke. */
struct ccp_primitives {
	u32 bytes_acked;        /* newly acknowledged in order */
	u32 packets_acked;
	u32 bytes_misordered;   /* newly acknowledged behind a hole */
	u32 packets_misordered;
	u32 ecn_bytes;          /* newly acknowledged with a congestion mark */
	u32 ecn_packets;
	u32 lost_pkts_sample;   /* found to be lost */
	bool was_timeout;       /* the retransmission timer ran out */
	u64 rtt_sample_us;      /* the latest round-trip time; 0: the one before */
	u64 rate_outgoing;      /* bytes per second */
	u64 rate_incoming;
	u32 bytes_in_flight;
	u32 packets_in_flight;
	u32 snd_cwnd;           /* the window that the transport has, bytes; 0: what was last set */
	u64 snd_rate;           /* not read */
	u32 bytes_pending;      /* handed over by the application, not sent yet */
};

#define MAX_CONG_ALG_SIZE 64

/* What is known of a flow when it starts. Addresses and ports as they stand on the wire (network order). */
struct ccp_datapath_info {
	u32 init_cwnd; /* bytes */
	u32 mss;       /* bytes */
	u32 src_ip;
	u32 src_port;
	u32 dst_ip;
	u32 dst_port;
	char congAlg[MAX_CONG_ALG_SIZE]; /* what the flow asks for; empty: nothing */
};

/* A place in the table of flows. The embedder fills `prims` before each ccp_invoke; the rest belongs to the library. */
struct ccp_connection {
	u16 index; /* 0: free */
	u64 last_create_msg_sent;
	struct ccp_primitives prims;
	struct ccp_datapath_info flow_info;
	void *state;
	void *impl; /* the embedder's, see ccp_get_impl */
	struct ccp_datapath *datapath;
};

enum ccp_log_level {
	TRACE,
	DEBUG,
	INFO,
	WARN,
	ERROR,
};

/* What the embedder provides. All functions but `log` are needed, and everything up to `fto_us`, and `max_programs`. */
struct ccp_datapath {
	/* Sets the window (bytes) and the pacing rate (bytes per second) of a flow. */
	void (*set_cwnd)(struct ccp_connection *conn, u32 cwnd);
	void (*set_rate_abs)(struct ccp_connection *conn, u32 rate);

	/* Sends a message to the agent; negative if it was not taken. Called within the functions below; must not block.
	 * The functions below fail if they are called from here, or from those that tell the time. */
	int (*send_msg)(struct ccp_datapath *dp, char *msg, int msg_size);

	void (*log)(struct ccp_datapath *dp, enum ccp_log_level level, const char *msg, int msg_size);

	u64 time_zero;
	u64 (*now)(void);              /* the time, in any unit; may be set back */
	u64 (*since_usecs)(u64 then);  /* microseconds since then */
	u64 (*after_usecs)(u64 usecs); /* the time in so many microseconds */

	size_t max_connections; /* places in the table; of more than 65,535 that many are used */
	struct ccp_connection *ccp_active_connections;

	u64 fto_us; /* sending fails for so long: nobody is there */
	u64 last_msg_sent;
	bool _in_fallback;

	size_t max_programs; /* so many are kept; of more, the one installed first is forgotten */
	void *programs;

	void *impl; /* the embedder's */
};

/* Begins. LIBCCP_OK also if nobody listens: READY is repeated with the acknowledgements. */
int ccp_init(struct ccp_datapath *dp, u32 id);

/* Frees everything, flows that were not closed included. */
void ccp_free(struct ccp_datapath *datapath);

/* A flow starts; NULL if there is no place. Its `index` is what the two functions below are given. */
struct ccp_connection *ccp_connection_start(struct ccp_datapath *datapath, void *impl, struct ccp_datapath_info *flow_info);

void ccp_connection_free(struct ccp_datapath *datapath, u16 sid);

/* NULL if there is none. */
struct ccp_connection *ccp_connection_lookup(struct ccp_datapath *datapath, u16 sid);

void *ccp_get_impl(struct ccp_connection *conn);
void ccp_set_impl(struct ccp_connection *conn, void *ptr);

/* The agent sent `bufsize` bytes. */
int ccp_read_msg(struct ccp_datapath *datapath, char *buf, int bufsize);

/*
 * An acknowledgement, or a timeout: reads `conn->prims`, calls set_cwnd and perhaps set_rate_abs, send_msg and log. Negative says why no
 * program steered: the flow was steered all the same.
 */
int ccp_invoke(struct ccp_connection *conn);

void _update_fto_timer(struct ccp_datapath *datapath);
bool _check_fto(struct ccp_datapath *datapath);
void _turn_off_fto_timer(struct ccp_datapath *datapath);

#ifdef __cplusplus
}
#endif

#endif
