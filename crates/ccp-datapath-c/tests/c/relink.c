/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * A datapath written for libccp, on a Unix datagram socket: relink OWN DAEMON WINDOW. It ends well once the daemon has set the window (bytes),
 * and badly after ten seconds. Compiled with libccp's own header, then linked with either library.
 */
#include <errno.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define REAL_CLOCK
#include "fixture.h"

static int sock;
static struct sockaddr_un agent;
static u32 window = 10 * MSS;

static void set_cwnd(struct ccp_connection *conn, u32 cwnd)
{
	(void)conn;
	window = cwnd;
}

static void set_rate(struct ccp_connection *conn, u32 rate)
{
	(void)conn;
	(void)rate;
}

static int send_msg(struct ccp_datapath *dp, char *msg, int size)
{
	(void)dp;
	if (sendto(sock, msg, (size_t)size, MSG_DONTWAIT, (struct sockaddr *)&agent, sizeof agent) < 0)
		return -errno;
	return 0;
}

static struct sockaddr_un at(const char *path)
{
	struct sockaddr_un address;

	memset(&address, 0, sizeof address);
	address.sun_family = AF_UNIX;
	strncpy(address.sun_path, path, sizeof address.sun_path - 1);
	return address;
}

int main(int argc, char **argv)
{
	static struct ccp_connection table[4];
	struct ccp_datapath dp;
	struct ccp_datapath_info info = a_flow();
	struct ccp_connection *conn;
	struct sockaddr_un own;
	u32 wanted;
	int turn, ended = 1;

	if (argc != 4)
		return 2;
	own = at(argv[1]);
	agent = at(argv[2]);
	wanted = (u32)strtoul(argv[3], NULL, 10);
	sock = socket(AF_UNIX, SOCK_DGRAM, 0);
	if (sock < 0 || bind(sock, (struct sockaddr *)&own, sizeof own) < 0) {
		perror("socket");
		return 2;
	}
	prepare(&dp, table, 4, 10, 1000000);
	if (ccp_init(&dp, 7) != 0)
		return 2;
	conn = ccp_connection_start(&dp, NULL, &info);
	if (!conn)
		return 2;
	for (turn = 0; turn < 10000 && ended; turn++) {
		char buffer[65536];
		ssize_t len;
		struct timespec pause = {0, 1000000};

		while ((len = recv(sock, buffer, sizeof buffer, MSG_DONTWAIT)) >= 0)
			ccp_read_msg(&dp, buffer, (int)len);
		conn->prims.bytes_acked = MSS;
		conn->prims.packets_acked = 1;
		conn->prims.rtt_sample_us = 10000;
		conn->prims.bytes_in_flight = window;
		conn->prims.packets_in_flight = window / MSS;
		conn->prims.snd_cwnd = window;
		ccp_invoke(conn);
		ended = window != wanted;
		nanosleep(&pause, NULL);
	}
	printf("window %u after %d turns\n", (unsigned)window, turn);
	ccp_connection_free(&dp, conn->index);
	ccp_free(&dp);
	close(sock);
	unlink(argv[1]);
	return ended;
}
