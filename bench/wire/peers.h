/* Sockets of one epoll loop, and the bytes that lie between them. */
#ifndef PEERS_H
#define PEERS_H
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define PIECE 65536 /* bytes of one read from a client or an upstream */

typedef struct { char *data; size_t at, end, room; } buffer;

typedef struct peer {
    int fd, blocked;                       /* blocked: what was not taken is written when it can be */
    void (*serve)(struct peer *, uint32_t);
    buffer in, out;
    uint32_t exchange;                     /* under way; 0: none */
    struct peer *channel, *next;           /* of that exchange; in a list */
    struct peer **exchanges;               /* of a channel, by id */
} peer;

static int poller;
static peer *dead; /* freed when the pass is over: it may have more for them */

static void *must(void *p) {
    if (!p) { perror("two-process-floor"); exit(1); }
    return p;
}

static void watch(peer *p, int operation, uint32_t what) {
    struct epoll_event e = {.events = what, .data.ptr = p};
    if (epoll_ctl(poller, operation, p->fd, &e)) { perror("epoll_ctl"); exit(1); }
}

static char *reserve(buffer *b, size_t length) {
    if (b->at == b->end) b->at = b->end = 0;
    if (b->end + length > b->room && b->at) {
        memmove(b->data, b->data + b->at, b->end - b->at);
        b->end -= b->at;
        b->at = 0;
    }
    if (b->end + length > b->room) b->data = must(realloc(b->data, b->room = 2 * (b->end + length)));
    return b->data + b->end;
}

static void put(buffer *b, const void *data, size_t length) {
    memcpy(reserve(b, length), data, length);
    b->end += length;
}

/* Read once; 0 when the other side is gone. */
static int fill(peer *p, size_t most) {
    char *room = reserve(&p->in, most);
    ssize_t got = recv(p->fd, room, p->in.room - p->in.end, 0);
    if (got > 0) p->in.end += (size_t)got;
    return got > 0 || (got < 0 && errno == EAGAIN);
}

/* Write what lies in `out`; 0 when the other side is gone. */
static int drain(peer *p) {
    buffer *b = &p->out;
    while (b->at < b->end) {
        ssize_t sent = send(p->fd, b->data + b->at, b->end - b->at, MSG_NOSIGNAL);
        if (sent < 0 && errno != EAGAIN) return 0;
        if (sent < 0) break;
        b->at += (size_t)sent;
    }
    if (p->blocked != (b->at < b->end)) {
        p->blocked = !p->blocked;
        watch(p, EPOLL_CTL_MOD, EPOLLIN | (p->blocked ? EPOLLOUT : 0));
    }
    return 1;
}

static void bury(peer *p) {
    close(p->fd);
    p->fd = -1;
    p->next = dead;
    dead = p;
}

static void run(int (*pass_is_over)(void)) { /* it tells for how many ms to wait at most; -1: for ever */
    struct epoll_event found[512];
    for (int wait_ms = -1;; wait_ms = pass_is_over()) {
        int many = epoll_wait(poller, found, 512, wait_ms);
        for (int i = 0; i < many; i++) {
            peer *p = found[i].data.ptr;
            if (p->fd >= 0) p->serve(p, found[i].events);
        }
        for (peer *p; (p = dead);) {
            dead = p->next;
            free(p->in.data);
            free(p->out.data);
            free(p);
        }
    }
}
#endif
