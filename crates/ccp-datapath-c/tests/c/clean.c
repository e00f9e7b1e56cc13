/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* ccpdp.h, call by call; and with two arguments, OWN DAEMON, a flow under a daemon that sets a window of 20,272 bytes. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "ccpdp.h"

#define CHECK(what) \
	do { \
		if (!(what)) { \
			printf("%s:%d: %s (%s)\n", __FILE__, __LINE__, #what, ccpdp_last_error()); \
			exit(1); \
		} \
	} while (0)

struct counter {
	int frames;
	int answer;
};

static int take(void *user, const uint8_t *frame, size_t len)
{
	struct counter *counter = user;

	CHECK(frame && len >= 8);
	counter->frames += counter->answer == CCPDP_SENT;
	return counter->answer;
}

static ccpdp_flow_spec spec(void)
{
	ccpdp_flow_spec spec;

	memset(&spec, 0, sizeof spec);
	spec.src.version = spec.dst.version = 4;
	memcpy(spec.src.ip, "\x7f\x00\x00\x01", 4);
	memcpy(spec.dst.ip, "\x7f\x00\x00\x02", 4);
	spec.src.port = 5000;
	spec.dst.port = 5001;
	spec.mss = 1448;
	return spec;
}

static void alone(void)
{
	struct counter counter = {0, CCPDP_SENT};
	ccpdp_sink sink = {take, &counter}, none = {NULL, NULL};
	ccpdp_register delay = {"Utp.queue_delay_us", 0, CCPDP_UNIT_MICROS}, twice[2];
	ccpdp_config config;
	ccpdp_datapath *datapath;
	ccpdp_measurements *measured;
	ccpdp_flow *flow, *other;
	ccpdp_flow_spec described = spec();
	ccpdp_received received;
	ccpdp_decision decision;
	int error = 0, place;

	/* Nothing is a crash. */
	ccpdp_config_default(NULL);
	ccpdp_datapath_free(NULL);
	ccpdp_measurements_free(NULL);
	ccpdp_flow_close(NULL, none);
	CHECK(ccpdp_measurements_new(NULL) == NULL);
	CHECK(ccpdp_datapath_message(NULL, 1, NULL, 0, NULL) == CCPDP_INVALID);
	CHECK(ccpdp_datapath_next_timer(NULL) == UINT64_MAX && ccpdp_flow_next_timer(NULL) == UINT64_MAX);
	CHECK(ccpdp_flow_ack(NULL, 1, NULL, none).mode == CCPDP_INVALID);
	CHECK(ccpdp_flow_open(NULL, 1, &described, none, &error) == NULL && error == CCPDP_INVALID);
	CHECK(strlen(ccpdp_last_error()) > 0);

	/* What is wrong with a configuration is said. */
	ccpdp_config_default(&config);
	config.max_flows = 0;
	CHECK(ccpdp_datapath_new(&config) == NULL && strstr(ccpdp_last_error(), "max_flows is 0"));
	ccpdp_config_default(&config);
	config.native = 9;
	CHECK(ccpdp_datapath_new(&config) == NULL && strstr(ccpdp_last_error(), "native is 9"));
	ccpdp_config_default(&config);
	twice[0] = twice[1] = delay;
	config.primitives = twice;
	config.primitives_count = 2;
	CHECK(ccpdp_datapath_new(&config) == NULL && strstr(ccpdp_last_error(), "Utp.queue_delay_us"));
	config.primitives_count = 1;
	config.max_flows = 1;
	config.native = CCPDP_RENO;
	datapath = ccpdp_datapath_new(&config);
	CHECK(datapath);
	place = ccpdp_datapath_primitive(datapath, "Utp.queue_delay_us");
	CHECK(place == 15 && ccpdp_datapath_primitive(datapath, "Flow.rtt_sample_us") == CCPDP_RTT_SAMPLE_US);
	CHECK(ccpdp_datapath_primitive(datapath, "Utp.nothing") < 0 && ccpdp_datapath_primitive(datapath, NULL) < 0);
	CHECK(ccpdp_datapath_writable(datapath, "Cwnd") == 0 && ccpdp_datapath_writable(datapath, "Rate") == 1);

	/* READY is repeated until somebody answers. */
	ccpdp_datapath_timer(datapath, 1000, sink);
	CHECK(counter.frames == 1 && ccpdp_datapath_next_timer(datapath) == 1000 + 1000000);
	ccpdp_datapath_timer(datapath, 2000000, sink);
	CHECK(counter.frames == 2 && !ccpdp_datapath_is_steered(datapath, 2000000));

	/* A flow without a daemon runs natively: slow start. */
	measured = ccpdp_measurements_new(datapath);
	described.mss = 0;
	CHECK(ccpdp_flow_open(datapath, 2000000, &described, sink, &error) == NULL && error == CCPDP_INVALID);
	described.mss = 1448;
	described.src.version = 5;
	CHECK(ccpdp_flow_open(datapath, 2000000, &described, sink, NULL) == NULL);
	described.src.version = 4;
	described.requested = "reno";
	flow = ccpdp_flow_open(datapath, 2000000, &described, sink, &error);
	CHECK(flow && ccpdp_datapath_flow_count(datapath) == 1);
	other = ccpdp_flow_open(datapath, 2000000, &described, sink, &error);
	CHECK(other == NULL && error == CCPDP_LIMIT);
	CHECK(ccpdp_flow_decision(flow).cwnd_bytes == 14480);
	ccpdp_measurements_set(measured, CCPDP_BYTES_ACKED, 1448);
	ccpdp_measurements_set(measured, CCPDP_RTT_SAMPLE_US, 20000);
	ccpdp_measurements_add(measured, (uint16_t)place, 5);
	ccpdp_measurements_set(measured, 60000, 1);
	CHECK(ccpdp_measurements_get(measured, (uint16_t)place) == 5 && ccpdp_measurements_get(measured, 60000) == 0);
	decision = ccpdp_flow_ack(flow, 2020000, measured, sink);
	CHECK(decision.cwnd_bytes == 15928 && decision.rate_bytes_per_s == 0 && decision.mode == CCPDP_FALLBACK);
	ccpdp_measurements_clear(measured);
	CHECK(ccpdp_measurements_get(measured, CCPDP_BYTES_ACKED) == 0);
	CHECK(ccpdp_measurements_get(measured, CCPDP_RTT_SAMPLE_US) == 20000);
	decision = ccpdp_flow_timeout(flow, 2300000, measured, sink);
	CHECK(decision.cwnd_bytes == 1448);
	ccpdp_flow_set_cwnd(flow, 100000);
	ccpdp_flow_set_mss(flow, 1200);
	CHECK(ccpdp_flow_decision(flow).cwnd_bytes == 100000 && !ccpdp_flow_wants_sends(flow));
	CHECK(ccpdp_flow_change_path(flow, &described.src, &described.dst, 1300, 13000) == CCPDP_OK);
	CHECK(ccpdp_flow_change_path(flow, NULL, &described.dst, 1300, 13000) == CCPDP_INVALID);
	CHECK(ccpdp_flow_decision(flow).cwnd_bytes == 13000 && ccpdp_flow_writable(flow, 0) == 13000);

	/* Nonsense is refused, and said. */
	CHECK(ccpdp_datapath_message(datapath, 2300000, (const uint8_t *)"nonsense", 8, &received) == CCPDP_REFUSED);
	CHECK(received.messages == 0 && strlen(ccpdp_last_error()) > 0);
	CHECK(ccpdp_datapath_message(datapath, 2300000, NULL, 0, &received) == CCPDP_OK);
	counter.answer = CCPDP_GONE;
	ccpdp_datapath_timer(datapath, 9000000, sink);
	ccpdp_datapath_timer(datapath, 99000000, none);

	/* The flow outlives its datapath. */
	ccpdp_datapath_free(datapath);
	CHECK(ccpdp_flow_ack(flow, 99000001, measured, sink).cwnd_bytes >= 1300);
	ccpdp_flow_close(flow, sink);
	ccpdp_measurements_free(measured);
}

static int sock;
static struct sockaddr_un daemon_at;

static int send_frame(void *user, const uint8_t *frame, size_t len)
{
	(void)user;
	if (sendto(sock, frame, len, MSG_DONTWAIT, (struct sockaddr *)&daemon_at, sizeof daemon_at) >= 0)
		return CCPDP_SENT;
	return errno == EAGAIN || errno == ENOBUFS ? CCPDP_FULL : CCPDP_GONE;
}

static uint64_t now_us(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

static void steered(const char *own_path, const char *daemon_path)
{
	struct sockaddr_un own;
	ccpdp_sink sink = {send_frame, NULL};
	ccpdp_datapath *datapath = ccpdp_datapath_new(NULL);
	ccpdp_measurements *measured = ccpdp_measurements_new(datapath);
	ccpdp_flow_spec described = spec();
	ccpdp_decision decision = {0, 0, 0};
	ccpdp_flow *flow;
	int turn;

	memset(&own, 0, sizeof own);
	own.sun_family = daemon_at.sun_family = AF_UNIX;
	strncpy(own.sun_path, own_path, sizeof own.sun_path - 1);
	strncpy(daemon_at.sun_path, daemon_path, sizeof daemon_at.sun_path - 1);
	sock = socket(AF_UNIX, SOCK_DGRAM, 0);
	CHECK(sock >= 0 && bind(sock, (struct sockaddr *)&own, sizeof own) == 0);
	ccpdp_datapath_timer(datapath, now_us(), sink);
	flow = ccpdp_flow_open(datapath, now_us(), &described, sink, NULL);
	CHECK(flow);
	for (turn = 0; turn < 10000; turn++) {
		struct timespec pause = {0, 1000000};
		uint8_t buffer[65536];
		ssize_t len;

		while ((len = recv(sock, buffer, sizeof buffer, MSG_DONTWAIT)) >= 0)
			CHECK(ccpdp_datapath_message(datapath, now_us(), buffer, (size_t)len, NULL) == CCPDP_OK);
		if (ccpdp_datapath_next_timer(datapath) <= now_us())
			ccpdp_datapath_timer(datapath, now_us(), sink);
		ccpdp_measurements_clear(measured);
		ccpdp_measurements_set(measured, CCPDP_BYTES_ACKED, 1448);
		ccpdp_measurements_set(measured, CCPDP_PACKETS_ACKED, 1);
		ccpdp_measurements_set(measured, CCPDP_RTT_SAMPLE_US, 10000);
		decision = ccpdp_flow_ack(flow, now_us(), measured, sink);
		if (decision.mode == CCPDP_RUNNING && decision.cwnd_bytes == 20272)
			break;
		nanosleep(&pause, NULL);
	}
	CHECK(decision.mode == CCPDP_RUNNING && decision.cwnd_bytes == 20272);
	CHECK(ccpdp_datapath_is_steered(datapath, now_us()) && ccpdp_flow_sock_id(flow) != UINT32_MAX);
	ccpdp_flow_close(flow, sink);
	ccpdp_measurements_free(measured);
	ccpdp_datapath_free(datapath);
	close(sock);
	unlink(own_path);
}

int main(int argc, char **argv)
{
	alone();
	if (argc == 3)
		steered(argv[1], argv[2]);
	printf("clean: passed\n");
	return 0;
}
