/* The least that two processes and a disk cost: no gateway, but the limit of one that is built as Ringfence is.
 *
 *   floor --port P --upstream U --ledger FILE [--fronts N]     all on 127.0.0.1, until it is killed
 *
 * Asked of the kernel is what the design asks: the front reads a request and frames it to the back over a socketpair; the
 * back has a record on the disk (one write, one fdatasync for all that came in one pass) before it sends it on over a
 * kept connection, and frames the answer back; outcomes ride with the next decisions. Left out is what is computed: keys,
 * JSON, policy, heads made anew, hashes, MACs, signatures, credits, timeouts. The disk is waited for where the bytes are
 * read, which spares a thread and would delay streams.
 */
#define _GNU_SOURCE
#include "back.h"
#include "front.h"
#include <arpa/inet.h>
#include <signal.h>
#include <sys/prctl.h>

static int listen_on(int port) {
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), on = 1;
    address = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr = {htonl(INADDR_LOOPBACK)}};
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(fd, (struct sockaddr *)&address, sizeof address) || listen(fd, 8192)) {
        fprintf(stderr, "floor: cannot listen on 127.0.0.1:%d: %s\n", port, strerror(errno));
        exit(1);
    }
    return fd;
}

static void name(char *program, const char *room) { /* as usage() tells processes apart: "floor" has five letters, too */
    size_t length = strlen(program);
    if (length >= 5) memcpy(program + length - 5, room, 5);
}

int main(int argc, char **argv) {
    int port = 0, behind = 0, fronts = 1, listener;
    const char *file = NULL;
    for (int i = 1; i + 1 < argc; i += 2) {
        if (!strcmp(argv[i], "--port")) port = atoi(argv[i + 1]);
        else if (!strcmp(argv[i], "--upstream")) behind = atoi(argv[i + 1]);
        else if (!strcmp(argv[i], "--ledger")) file = argv[i + 1];
        else if (!strcmp(argv[i], "--fronts")) fronts = atoi(argv[i + 1]);
    }
    if (port <= 0 || behind <= 0 || !file) {
        fprintf(stderr, "usage: floor --port P --upstream U --ledger FILE [--fronts N]\n");
        return 2;
    }
    ledger = open(file, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
    if (ledger < 0) { perror(file); return 1; }
    listener = listen_on(port);
    address.sin_port = htons((uint16_t)behind);
    int ends[fronts][2];
    for (int i = 0; i < fronts; i++) {
        if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, ends[i])) { perror("socketpair"); return 1; }
        if (fork()) { close(ends[i][1]); continue; }
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        name(argv[0], "front");
        poller = epoll_create1(EPOLL_CLOEXEC);
        run_front(listener, ends[i][1]);
    }
    close(listener);
    poller = epoll_create1(EPOLL_CLOEXEC);
    for (int i = 0; i < fronts; i++) {
        peer *channel = open_channel(ends[i][0], serve_front);
        channel->next = channels;
        channels = channel;
    }
    run(back_pass);
}
