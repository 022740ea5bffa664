/* The front process: clients, whose requests it hands to the back, and whose answers it writes as they come. */
#ifndef FRONT_H
#define FRONT_H
#include "frames.h"
#include <netinet/in.h>
#include <netinet/tcp.h>

static peer *to_back, door;
static uint32_t newest;

static size_t whole_request(const buffer *b) { /* the bytes of the first one; 0 while it is not all here */
    char *begin = b->data + b->at, *stop = memmem(begin, b->end - b->at, "\r\n\r\n", 4);
    if (!stop) return 0;
    stop[2] = 0;
    const char *told = strcasestr(begin, "\r\ncontent-length:");
    size_t length = (size_t)(stop + 4 - begin) + (told ? strtoul(told + 17, NULL, 10) : 0);
    stop[2] = '\r';
    return length <= b->end - b->at ? length : 0;
}

static void ask(peer *client) {
    size_t length = whole_request(&client->in);
    if (client->exchange || !length) return;
    do newest++; while (!newest || to_back->exchanges[newest % SLOTS]);
    to_back->exchanges[newest % SLOTS] = client;
    client->exchange = newest;
    add_frame(&to_back->out, ASK, newest, client->in.data + client->in.at, length);
    client->in.at += length;
}

static void forget(peer *client) {
    to_back->exchanges[client->exchange % SLOTS] = NULL;
    client->exchange = 0;
}

static void client_left(peer *client) {
    if (client->exchange) {
        add_frame(&to_back->out, LEFT, client->exchange, "", 0);
        forget(client);
    }
    bury(client);
}

static void serve_client(peer *client, uint32_t what) {
    if (((what & EPOLLOUT) && !drain(client)) || ((what & ~EPOLLOUT) && !fill(client, PIECE))) client_left(client);
    else ask(client);
}

static void answer_client(peer *client, enum kind kind, const char *data, size_t length) {
    ssize_t sent = client->blocked ? 0 : send(client->fd, data, length, MSG_NOSIGNAL);
    if (sent < (ssize_t)length) { /* an error is told by the next try */
        put(&client->out, data + (sent > 0 ? sent : 0), length - (size_t)(sent > 0 ? sent : 0));
        if (!drain(client)) { client_left(client); return; }
    }
    if (kind == PART) return;
    forget(client);
    if (client->in.at < client->in.end) ask(client);
}

static void serve_back(peer *channel, uint32_t what) {
    if ((what & ~EPOLLOUT) && !fill(channel, PASS)) exit(0);
    frame head;
    for (char *data; (data = next_frame(&channel->in, &head));) {
        peer *client = channel->exchanges[head.exchange % SLOTS];
        if (client && client->exchange == head.exchange) answer_client(client, head.kind, data, head.length);
    }
}

static void admit(peer *listener, uint32_t what) {
    int fd, on = 1;
    (void)what;
    while ((fd = accept4(listener->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        peer *client = must(calloc(1, sizeof *client));
        client->fd = fd;
        client->serve = serve_client;
        watch(client, EPOLL_CTL_ADD, EPOLLIN);
    }
}

static int front_pass(void) {
    if (!drain(to_back)) exit(0);
    return -1;
}

static void run_front(int listener, int channel) {
    to_back = open_channel(channel, serve_back);
    door = (peer){.fd = listener, .serve = admit};
    watch(&door, EPOLL_CTL_ADD, EPOLLIN | EPOLLEXCLUSIVE);
    run(front_pass);
}
#endif
