/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * ccpdp.h from several threads: each opens, runs and closes flows of its own, one says what a daemon says, and anything else; at the end
 * nothing is left over.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ccpdp.h"

#define CHECK(what) \
	do { \
		if (!(what)) { \
			printf("%s:%d: %s\n", __FILE__, __LINE__, #what); \
			exit(1); \
		} \
	} while (0)

#define THREADS 4
#define ROUNDS 300
#define MSS 1448

static ccpdp_datapath *datapath;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
/* Flows that were announced and not yet answered. */
static uint32_t announced[1024];
static size_t waiting;
static int ended;

static int send_frame(void *user, const uint8_t *frame, size_t len)
{
	unsigned *turn = user;

	CHECK(len >= 8);
	if (++*turn % 7 == 0)
		return CCPDP_FULL;
	pthread_mutex_lock(&lock);
	if (frame[0] == 0 && waiting < sizeof announced / sizeof *announced)
		memcpy(&announced[waiting++], frame + 4, 4);
	pthread_mutex_unlock(&lock);
	return CCPDP_SENT;
}

static void *run_flows(void *is_running)
{
	unsigned turn = 0, round, ack, running = 0;
	ccpdp_sink sink = {send_frame, &turn};
	ccpdp_measurements *measured = ccpdp_measurements_new(datapath);
	ccpdp_flow_spec spec;
	uint64_t now = 1000000;

	memset(&spec, 0, sizeof spec);
	spec.src.version = spec.dst.version = 4;
	spec.mss = MSS;
	/* Longer if the daemon is late. */
	for (round = 0; round < ROUNDS || (!running && round < 1000 * ROUNDS); round++) {
		ccpdp_flow *flow = ccpdp_flow_open(datapath, now, &spec, sink, NULL);

		CHECK(flow);
		for (ack = 0; ack < 100; ack++) {
			ccpdp_decision decision;

			now += 10000;
			ccpdp_measurements_clear(measured);
			ccpdp_measurements_set(measured, CCPDP_BYTES_ACKED, MSS);
			ccpdp_measurements_set(measured, CCPDP_RTT_SAMPLE_US, 10000);
			decision = ack % 40 == 39 ? ccpdp_flow_timeout(flow, now, measured, sink) : ccpdp_flow_ack(flow, now, measured, sink);
			CHECK(decision.cwnd_bytes >= MSS && decision.mode >= 0);
			running += decision.mode == CCPDP_RUNNING;
			ccpdp_datapath_timer(datapath, now, sink);
		}
		ccpdp_flow_close(flow, sink);
	}
	ccpdp_measurements_free(measured);
	*(unsigned *)is_running = running;
	return NULL;
}

static size_t put(uint8_t *at, size_t len, uint64_t value, size_t bytes)
{
	memcpy(at + len, &value, bytes);
	return len + bytes;
}

/* One clause that always reports; libccp's format. */
static void install(uint32_t uid)
{
	static const uint8_t code[] = {
		2, 5, 0, 0, 0, 0, 5, 0, 0, 0, 0, 1, 0, 0, 0, 0, /* (def (Report (volatile x 0))) */
		1, 2, 0, 0, 0, 0, 2, 0, 0, 0, 0, 1, 1, 0, 0, 0, /* (when true */
		1, 2, 2, 0, 0, 0, 2, 2, 0, 0, 0, 1, 1, 0, 0, 0, /*       (report)) */
	};
	uint8_t message[128];
	size_t len = 0;

	len = put(message, len, 2 | (20 + 16 + sizeof code) << 16, 4);
	len = put(message, len, 0, 4);
	len = put(message, len, uid | 1ull << 32, 8);
	len = put(message, len, 3 | 1ull << 32, 8);
	len = put(message, len, 1 | 2ull << 32, 8);
	len = put(message, len, 1, 4);
	memcpy(message + len, code, sizeof code);
	CHECK(ccpdp_datapath_message(datapath, 1000000, message, len + sizeof code, NULL) == CCPDP_OK);
}

static void *speak(void *unused)
{
	uint32_t turn = 0, sid = 0;
	int over = 0;

	while (!over) {
		uint8_t message[32];
		size_t len = 0;

		if (turn++ % 64 == 0)
			install(2 + turn / 64 % 5);
		pthread_mutex_lock(&lock);
		over = ended;
		if (waiting)
			sid = announced[--waiting];
		pthread_mutex_unlock(&lock);
		len = put(message, len, 4 | 16 << 16, 4);
		len = put(message, len, sid, 4);
		len = put(message, len, 2 + turn / 64 % 5, 8);
		/* The flow may have ended. */
		ccpdp_datapath_message(datapath, 1000000, message, len, NULL);
		message[turn % len] ^= (uint8_t)(1 << turn % 8);
		ccpdp_datapath_message(datapath, 1000000, message, len, NULL);
	}
	return unused;
}

int main(void)
{
	pthread_t threads[THREADS], speaker;
	unsigned running[THREADS], turn = 0, i;
	ccpdp_sink sink = {send_frame, &turn};

	datapath = ccpdp_datapath_new(NULL);
	CHECK(datapath);
	ccpdp_datapath_timer(datapath, 1000000, sink);
	install(1);
	CHECK(pthread_create(&speaker, NULL, speak, NULL) == 0);
	for (i = 0; i < THREADS; i++)
		CHECK(pthread_create(&threads[i], NULL, run_flows, &running[i]) == 0);
	for (i = 0; i < THREADS; i++) {
		CHECK(pthread_join(threads[i], NULL) == 0);
		CHECK(running[i] > 0);
	}
	pthread_mutex_lock(&lock);
	ended = 1;
	pthread_mutex_unlock(&lock);
	CHECK(pthread_join(speaker, NULL) == 0);
	CHECK(ccpdp_datapath_flow_count(datapath) == 0);
	ccpdp_datapath_free(datapath);
	printf("threads: passed\n");
	return 0;
}
