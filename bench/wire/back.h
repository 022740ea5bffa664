/* The back process: a record of each request is on the disk before it is sent on, another when it was answered. */
#ifndef BACK_H
#define BACK_H
#include "answer.h"
#include "frames.h"
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <time.h>

#define DECISION 732 /* bytes of a record as Ringfence writes it */
#define OUTCOME 436
#define LINGER_MS 50 /* an outcome goes with the next decisions, or after so long */

typedef struct { peer peer; answer answer; } upstream;

static peer *channels, *idle, *pending; /* pending: their requests wait for the disk */
static struct sockaddr_in address;
static int ledger;
static buffer records;
static uint64_t written, oldest_ms;

static uint64_t now_ms(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000u + (uint64_t)t.tv_nsec / 1000000u;
}

static void record(const char *kind, uint32_t exchange, int length) {
    if (records.at == records.end) oldest_ms = now_ms();
    char *line = reserve(&records, (size_t)length + 1);
    int had = sprintf(line, "{\"i\":%llu,\"t\":%llu,\"kind\":\"%s\",\"body\":{\"exchange\":%u,\"rest\":\"",
                      (unsigned long long)written++, (unsigned long long)oldest_ms, kind, exchange);
    memset(line + had, 'x', (size_t)(length - had));
    memcpy(line + length - 4, "\"}}\n", 4);
    records.end += (size_t)length;
}

static void commit(void) {
    size_t length = records.end - records.at;
    if (write(ledger, records.data + records.at, length) != (ssize_t)length || fdatasync(ledger)) { perror("ledger"); exit(1); }
    records.at = records.end;
}

static void lost(void) {
    fprintf(stderr, "floor: the upstream closed a connection\n");
    exit(1);
}

static void settle(upstream *u) {
    record("outcome", u->peer.exchange, OUTCOME);
    u->peer.channel->exchanges[u->peer.exchange % SLOTS] = NULL;
    u->peer.exchange = 0;
}

static void send_pending(void) {
    if (pending || (records.at < records.end && now_ms() - oldest_ms >= LINGER_MS)) commit();
    for (peer *p; (p = pending);) {
        pending = p->next;
        if (!drain(p)) lost();
    }
}

static void relay(upstream *u) { /* read into the frame that the front will have */
    for (ssize_t got = PIECE; got == PIECE && u->peer.exchange;) {
        buffer *out = &u->peer.channel->out;
        char *room = reserve(out, sizeof(frame) + PIECE);
        got = recv(u->peer.fd, room + sizeof(frame), PIECE, 0);
        if (got < 0 && errno == EAGAIN) return;
        if (got <= 0) lost();
        take(&u->answer, room + sizeof(frame), (size_t)got);
        frame head = {(uint32_t)got, u->peer.exchange, u->answer.stage == WHOLE ? LAST : PART};
        memcpy(room, &head, sizeof head);
        out->end += sizeof head + (size_t)got;
        if (head.kind != LAST) continue;
        settle(u);
        u->peer.next = idle;
        idle = &u->peer;
    }
}

static void serve_upstream(peer *p, uint32_t what) {
    if ((what & EPOLLOUT) && !drain(p)) lost();
    if ((what & ~EPOLLOUT) && p->exchange) relay((upstream *)p);
    else if (what & ~EPOLLOUT) lost();
}

static upstream *kept_or_new(void) {
    if (idle) {
        peer *kept = idle;
        idle = kept->next;
        return (upstream *)kept;
    }
    int on = 1;
    upstream *u = must(calloc(1, sizeof *u));
    u->peer.fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    u->peer.serve = serve_upstream;
    setsockopt(u->peer.fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (connect(u->peer.fd, (struct sockaddr *)&address, sizeof address) && errno != EINPROGRESS) { perror("connect"); exit(1); }
    u->peer.blocked = 1;
    watch(&u->peer, EPOLL_CTL_ADD, EPOLLIN | EPOLLOUT);
    return u;
}

static void serve_front(peer *channel, uint32_t what) {
    if ((what & ~EPOLLOUT) && !fill(channel, PASS)) exit(0);
    frame head;
    for (char *data; (data = next_frame(&channel->in, &head));) {
        peer **slot = &channel->exchanges[head.exchange % SLOTS];
        if (head.kind == ASK) {
            upstream *u = kept_or_new();
            record("decision", head.exchange, DECISION);
            begin_answer(&u->answer);
            put(&u->peer.out, data, head.length);
            u->peer.exchange = head.exchange;
            u->peer.channel = channel;
            u->peer.next = pending;
            pending = *slot = &u->peer;
        } else if (*slot && (*slot)->exchange == head.exchange) {
            send_pending(); /* it may be one of them */
            peer *left = *slot;
            settle((upstream *)left);
            bury(left); /* which stops the upstream */
        }
    }
}

static int back_pass(void) {
    for (peer *channel = channels; channel; channel = channel->next)
        if (!drain(channel)) exit(0);
    send_pending();
    return records.at < records.end ? LINGER_MS : -1;
}
#endif
