/* An OpenAI-compatible upstream that answers at once: it does so little that no proxy is ever slowed by it.
 *
 *   mock --port P [--count N]      listens on P .. P+N-1 of 127.0.0.1, one thread, until it is killed
 *
 * GET /control?reply=BYTES&events=N&interval_us=U&event=BYTES changes how it answers from then on; GET /seen tells how
 * many exchanges it had. A POST whose body says "stream":true gets N events and [DONE]: each event is one chunk of the
 * answer, one every U microseconds, or as fast as the socket takes them when U is 0. Any other POST gets BYTES of JSON.
 */
#define _GNU_SOURCE
#include "canned.h"
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define MOST_BODY (4 << 20)

typedef struct conn {
    int fd, listening, streaming, closing;
    char *in;
    size_t have, room;
    char *out; /* what the socket did not take */
    size_t out_at, out_end, out_room;
    long left;    /* events still to be sent */
    uint64_t due; /* of the next one, ns */
    struct conn *next, *before; /* streams in order of their due time: the pace is the same for all */
} conn;

static unsigned long exchanges, streams;
static conn *first, *last;
static int poller;

static const char STREAM_HEAD[] =
    "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-cache\r\n"
    "Transfer-Encoding: chunked\r\n\r\n";
static const char STREAM_END[] = "e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n";

static uint64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void unlist(conn *c) {
    if (c->before) c->before->next = c->next; else if (first == c) first = c->next;
    if (c->next) c->next->before = c->before; else if (last == c) last = c->before;
    c->next = c->before = NULL;
}

static void enlist(conn *c, uint64_t due) {
    c->due = due;
    c->before = last;
    c->next = NULL;
    if (last) last->next = c; else first = c;
    last = c;
}

static void drop(conn *c) {
    unlist(c);
    close(c->fd);
    free(c->in);
    free(c->out);
    c->fd = -1; /* freed by the caller's pass: events for it may be in hand */
}

static void watch(conn *c, int writable) {
    struct epoll_event e = {.events = EPOLLIN | (writable ? EPOLLOUT : 0), .data.ptr = c};
    epoll_ctl(poller, EPOLL_CTL_MOD, c->fd, &e);
}

/* 1 when all was taken by the socket; the rest is kept, and the socket watched. */
static int put(conn *c, const char *data, size_t length) {
    ssize_t sent = 0;
    if (c->out_at == c->out_end) {
        sent = send(c->fd, data, length, MSG_NOSIGNAL);
        if (sent == (ssize_t)length) return 1;
        if (sent < 0) {
            if (errno != EAGAIN) c->closing = 1;
            sent = 0;
        }
        c->out_at = c->out_end = 0;
    }
    size_t rest = length - (size_t)sent;
    if (c->out_end + rest > c->out_room) c->out = must(realloc(c->out, c->out_room = c->out_end + rest + 65536));
    memcpy(c->out + c->out_end, data + sent, rest);
    c->out_end += rest;
    watch(c, 1);
    return 0;
}

static void finish(conn *c) {
    c->streaming = 0;
    put(c, STREAM_END, sizeof STREAM_END - 1);
}

/* As fast as they go: batches, until the socket is full. */
static void pour(conn *c) {
    while (c->streaming && c->out_at == c->out_end) {
        long many = c->left < BATCH ? c->left : BATCH;
        c->left -= many;
        if (many && !put(c, batch, (size_t)many * event_length)) return;
        if (c->left == 0) finish(c);
    }
}

static void start_stream(conn *c) {
    streams++;
    c->streaming = 1;
    c->left = events;
    put(c, STREAM_HEAD, sizeof STREAM_HEAD - 1);
    if (interval_us == 0) pour(c); else enlist(c, now_ns());
}

static void pace(uint64_t now) {
    while (first && first->due <= now) {
        conn *c = first;
        unlist(c);
        put(c, event, event_length);
        if (--c->left == 0) finish(c); else enlist(c, c->due + (uint64_t)interval_us * 1000u);
    }
}

static void number(const char *query, const char *name, long *into) {
    const char *found = strstr(query, name);
    if (found) *into = atol(found + strlen(name));
}

static void say(conn *c, int status, const char *body) {
    char answer[512];
    int length = snprintf(answer, sizeof answer,
                          "HTTP/1.1 %d %s\r\nContent-Type: application/json\r\nContent-Length: %zu\r\n\r\n%s", status,
                          status == 200 ? "OK" : "Not Found", strlen(body), body);
    put(c, answer, (size_t)length);
}

static void answer_get(conn *c, const char *target) {
    char text[128];
    if (!strncmp(target, "/control?", 9)) {
        number(target, "reply=", &reply_bytes);
        number(target, "events=", &events);
        number(target, "interval_us=", &interval_us);
        number(target, "event=", &event_bytes);
        prepare();
        say(c, 200, "{}");
    } else if (!strncmp(target, "/seen ", 6)) {
        snprintf(text, sizeof text, "{\"exchanges\":%lu,\"streams\":%lu}", exchanges, streams);
        say(c, 200, text);
    } else if (!strncmp(target, "/v1/models ", 11)) {
        say(c, 200, "{\"object\":\"list\",\"data\":[{\"id\":\"bench\",\"object\":\"model\",\"owned_by\":\"bench\"}]}");
    } else if (!strncmp(target, "/health ", 8)) {
        say(c, 200, "{}");
    } else {
        say(c, 404, "{\"error\":{\"message\":\"no such path\",\"type\":\"not_found\"}}");
    }
}

/* The length of the body that follows `head`; -1 while a chunked one is not all here. */
static long body_length(const char *head, const char *body, const char *end, int *chunked) {
    const char *found = strcasestr(head, "\r\ncontent-length:");
    if (found) return atol(found + 17);
    if (!strcasestr(head, "\r\ntransfer-encoding:")) return 0;
    *chunked = 1;
    const char *stop = memmem(body, (size_t)(end - body), "0\r\n\r\n", 5); /* our JSON has no CR in it */
    while (stop && stop != body && stop[-1] != '\n') stop = memmem(stop + 1, (size_t)(end - stop - 1), "0\r\n\r\n", 5);
    return stop ? stop + 5 - body : -1;
}

/* One whole request at the start of the buffer is answered: 1; 0 when it is not all here. */
static int answer_one(conn *c) {
    char *stop = memmem(c->in, c->have, "\r\n\r\n", 4);
    if (!stop) return 0;
    char *body = stop + 4;
    char kept = stop[2];
    stop[2] = 0;
    int chunked = 0;
    long length = body_length(c->in, body, c->in + c->have, &chunked);
    if (strcasestr(c->in, "\r\nconnection: close")) c->closing = 2;
    stop[2] = kept;
    if (length < 0 || (size_t)(body - c->in) + (size_t)length > c->have) return 0;
    if (!strncmp(c->in, "GET ", 4)) {
        answer_get(c, c->in + 4);
    } else {
        exchanges++;
        int stream = memmem(body, (size_t)length, "\"stream\":true", 13) || memmem(body, (size_t)length, "\"stream\": true", 14);
        if (stream) start_stream(c); else put(c, reply, reply_length);
    }
    size_t used = (size_t)(body - c->in) + (size_t)length;
    memmove(c->in, c->in + used, c->have - used);
    c->have -= used;
    return 1;
}

static void readable(conn *c) {
    for (;;) {
        if (c->room - c->have < 16384) c->in = must(realloc(c->in, c->room = c->room * 2 + 32768));
        ssize_t got = recv(c->fd, c->in + c->have, c->room - c->have - 1, 0);
        if (got == 0 || (got < 0 && errno != EAGAIN)) { c->closing = 1; return; }
        if (got < 0) break;
        int whole = (size_t)got < c->room - c->have - 1;
        c->have += (size_t)got;
        if (c->have > MOST_BODY) { c->closing = 1; return; }
        if (whole) break;
    }
    while (!c->streaming && c->have && answer_one(c)) {}
}

static void writable(conn *c) {
    while (c->out_at < c->out_end) {
        ssize_t sent = send(c->fd, c->out + c->out_at, c->out_end - c->out_at, MSG_NOSIGNAL);
        if (sent < 0) {
            if (errno != EAGAIN) c->closing = 1;
            return;
        }
        c->out_at += (size_t)sent;
    }
    c->out_at = c->out_end = 0;
    watch(c, 0);
    if (c->streaming && interval_us == 0) pour(c);
}

static void admit(conn *door) {
    int fd, on = 1;
    while ((fd = accept4(door->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        conn *c = must(calloc(1, sizeof *c));
        c->fd = fd;
        struct epoll_event e = {.events = EPOLLIN, .data.ptr = c};
        epoll_ctl(poller, EPOLL_CTL_ADD, fd, &e);
    }
}

static void open_door(int port) {
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), on = 1;
    struct sockaddr_in where = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr = {htonl(INADDR_LOOPBACK)}};
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(fd, (struct sockaddr *)&where, sizeof where) || listen(fd, 8192)) {
        fprintf(stderr, "mock: cannot listen on 127.0.0.1:%d: %s\n", port, strerror(errno));
        exit(1);
    }
    conn *door = must(calloc(1, sizeof *door));
    door->fd = fd;
    door->listening = 1;
    struct epoll_event e = {.events = EPOLLIN, .data.ptr = door};
    epoll_ctl(poller, EPOLL_CTL_ADD, fd, &e);
}

static void serve(conn *c, uint32_t what) {
    if (c->listening) { admit(c); return; }
    if (what & (EPOLLIN | EPOLLHUP | EPOLLERR)) readable(c);
    if (!(c->closing & 1) && (what & EPOLLOUT)) writable(c);
    if (!(c->closing & 1) && !c->streaming && c->have) while (!c->streaming && c->have && answer_one(c)) {}
    if ((c->closing & 1) || (c->closing == 2 && !c->streaming && c->out_at == c->out_end && !c->have)) {
        drop(c);
        free(c);
    }
}

int main(int argc, char **argv) {
    int port = 0, count = 1;
    for (int i = 1; i + 1 < argc; i += 2) {
        if (!strcmp(argv[i], "--port")) port = atoi(argv[i + 1]);
        else if (!strcmp(argv[i], "--count")) count = atoi(argv[i + 1]);
    }
    if (port <= 0) { fprintf(stderr, "usage: mock --port P [--count N]\n"); return 2; }
    signal(SIGPIPE, SIG_IGN);
    prepare();
    poller = epoll_create1(EPOLL_CLOEXEC);
    for (int i = 0; i < count; i++) open_door(port + i);
    puts("ready");
    fflush(stdout);
    struct epoll_event found[512];
    for (;;) {
        struct timespec wait = {0}, *until = NULL;
        uint64_t now = now_ns();
        pace(now);
        if (first) {
            uint64_t rest = first->due > now ? first->due - now : 0;
            wait.tv_sec = (time_t)(rest / 1000000000u);
            wait.tv_nsec = (long)(rest % 1000000000u);
            until = &wait;
        }
        int many = epoll_pwait2(poller, found, 512, until, NULL);
        for (int i = 0; i < many; i++) serve(found[i].data.ptr, found[i].events);
    }
}
