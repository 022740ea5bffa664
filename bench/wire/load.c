/* Ask one server from many connections, on one thread, and time the bytes on the wire.
 *
 *   load --port P --body FILE [--path /v1/chat/completions] [--connections C] [--rate R] [--stream 1]
 *        [--interval-us U] [--ramp S] [--keys FILE] [--header "Name: value"]... [--warm-up S] [--seconds S]
 *
 * Without --rate: closed loop, each connection asks again when it was answered. With it: open loop, R requests a second
 * fall due evenly, and a time counts from when the request was due, not from when a connection was free for it (what
 * wrk2 calls corrected latency). --keys has one bearer token a line, dealt out over the connections.
 * Prints "begin" and "end" when the measured window opens and closes, then one line of JSON: times in microseconds.
 */
#define _GNU_SOURCE
#include "answer.h"
#include "histogram.h"
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define HEAD_ROOM 8192

typedef struct conn {
    int fd, busy, connected, asked_again;
    char *request;
    size_t length, sent;
    uint64_t due, started, last_event; /* ns */
    struct conn *next_free;
    answer answer;
} conn;

static int port, streaming;
static const char *path = "/v1/chat/completions", *body_file, *keys_file;
static long connections = 1, interval_us;
static double rate, warm_up = 1, seconds = 3, ramp_s; /* ramp_s: all connections ask within so long; 0: streams within one pace */
static char *body, *keys, headers[4096];
static size_t body_length;
static int poller, measuring;
static conn *conns, *free_first;
static uint64_t done, events, failed, torn, whole_streams, whole_events;
static int last_status;
static histogram latency, first_byte, gap, jitter;

static uint64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static char *slurp(const char *name, size_t *length) {
    FILE *file = fopen(name, "rb");
    if (!file) { perror(name); exit(2); }
    char *data = malloc(16 << 20);
    if (!data) abort();
    *length = fread(data, 1, (16 << 20) - 1, file);
    data[*length] = 0;
    fclose(file);
    return data;
}

static void watch(conn *c, int operation, uint32_t what) {
    struct epoll_event e = {.events = what, .data.ptr = c};
    epoll_ctl(poller, operation, c->fd, &e);
}

static void open_conn(conn *c) {
    int on = 1;
    struct sockaddr_in where = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr = {htonl(INADDR_LOOPBACK)}};
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    c->connected = 0;
    if (connect(c->fd, (struct sockaddr *)&where, sizeof where) && errno != EINPROGRESS) { perror("connect"); exit(1); }
    watch(c, EPOLL_CTL_ADD, EPOLLIN | EPOLLOUT);
}

static void push(conn *c) {
    while (c->sent < c->length) {
        ssize_t sent = send(c->fd, c->request + c->sent, c->length - c->sent, MSG_NOSIGNAL);
        if (sent < 0) return; /* EAGAIN: EPOLLOUT tells; an error: the read side tells */
        c->sent += (size_t)sent;
    }
    watch(c, EPOLL_CTL_MOD, EPOLLIN);
}

static void ask(conn *c, uint64_t due, uint64_t now) {
    c->busy = 1;
    c->asked_again = 0;
    c->due = due;
    c->started = now;
    c->last_event = 0;
    c->sent = 0;
    begin_answer(&c->answer);
    if (c->connected) push(c);
    if (c->sent < c->length) watch(c, EPOLL_CTL_MOD, EPOLLIN | EPOLLOUT);
}

static void set_free(conn *c) {
    c->busy = 0;
    c->next_free = free_first;
    free_first = c;
}

static void again(conn *c, uint64_t now) {
    if (rate > 0) set_free(c); else ask(c, now, now);
}

/* A kept connection was closed as we asked: no failure, the same question goes out once more and its time goes on. */
static void ask_again(conn *c) {
    close(c->fd);
    open_conn(c);
    c->asked_again = 1;
    c->sent = 0;
}

static void failure(conn *c, uint64_t now) {
    if (measuring) failed++;
    close(c->fd);
    usleep(200); /* a server that is down is not hammered */
    open_conn(c);
    again(c, now);
}

static void ended(conn *c, uint64_t now) {
    answer *a = &c->answer;
    last_status = a->status;
    int good = a->status == 200 && (!streaming || ends_with_done(a));
    if (measuring) {
        if (good) { done++; add(&latency, now - c->due); } else { failed++; }
        if (good && streaming) { whole_streams++; whole_events += (uint64_t)a->events; }
    }
    if (a->closes || a->stage == UNTIL_CLOSE) {
        close(c->fd);
        open_conn(c);
    }
    again(c, now);
}

/* Events that came with one read: the first one ends the gap, the others came with it. */
static void note_events(conn *c, long came, uint64_t now) {
    if (!measuring || came <= 0) return;
    events += (uint64_t)came;
    if (c->answer.newlines < 2 && c->answer.stage != WHOLE) torn++;
    if (c->last_event) {
        uint64_t apart = now - c->last_event, pace = (uint64_t)interval_us * 1000u;
        add(&gap, apart);
        if (pace) add(&jitter, apart > pace ? apart - pace : pace - apart);
    }
}

static void readable(conn *c, uint64_t now) {
    static char data[1 << 18];
    for (int more = 1; more;) {
        ssize_t got = recv(c->fd, data, sizeof data, 0);
        if (got < 0 && errno == EAGAIN) return;
        if (got <= 0) {
            if (c->busy && c->answer.stage == UNTIL_CLOSE) ended(c, now);
            else if (c->busy && !c->answer.head_length && !c->asked_again) ask_again(c);
            else if (c->busy) failure(c, now);
            else { close(c->fd); open_conn(c); }
            return;
        }
        more = (size_t)got == sizeof data;
        if (!c->busy) continue;
        answer *a = &c->answer;
        int started = a->started;
        long before = a->events;
        take(a, data, (size_t)got);
        if (!started && a->started && measuring) add(&first_byte, now - c->due);
        if (streaming && a->events > before) {
            note_events(c, a->events - before, now);
            c->last_event = now;
        }
        if (a->stage == BROKEN) { failure(c, now); return; }
        if (a->stage == WHOLE) { ended(c, now); return; }
    }
}

static void serve(conn *c, uint32_t what, uint64_t now) {
    if (what & EPOLLOUT) {
        c->connected = 1;
        if (c->busy) push(c); else watch(c, EPOLL_CTL_MOD, EPOLLIN);
    }
    if (what & (EPOLLIN | EPOLLHUP | EPOLLERR)) readable(c, now);
}

static void write_requests(void) {
    char *key = keys, *line = keys;
    for (long i = 0; i < connections; i++) {
        char token[256] = "";
        if (keys) {
            if (!*line) line = keys;
            key = line;
            size_t length = strcspn(line, "\n");
            snprintf(token, sizeof token, "Authorization: Bearer %.*s\r\n", (int)length, key);
            line += length + (line[length] == '\n');
        }
        conns[i].request = malloc(body_length + HEAD_ROOM);
        if (!conns[i].request) abort();
        int head = snprintf(conns[i].request, HEAD_ROOM,
                            "POST %s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nContent-Type: application/json\r\n%s%s"
                            "Content-Length: %zu\r\n\r\n", path, port, token, headers, body_length);
        memcpy(conns[i].request + head, body, body_length);
        conns[i].length = (size_t)head + body_length;
    }
}

static void add_header(const char *header) {
    size_t length = strlen(headers);
    if (length + strlen(header) + 3 > sizeof headers) { fprintf(stderr, "load: too many headers\n"); exit(2); }
    sprintf(headers + length, "%s\r\n", header);
}

static void options(int argc, char **argv) {
    for (int i = 1; i + 1 < argc; i += 2) {
        const char *name = argv[i], *value = argv[i + 1];
        if (!strcmp(name, "--port")) port = atoi(value);
        else if (!strcmp(name, "--path")) path = value;
        else if (!strcmp(name, "--body")) body_file = value;
        else if (!strcmp(name, "--keys")) keys_file = value;
        else if (!strcmp(name, "--header")) add_header(value);
        else if (!strcmp(name, "--connections")) connections = atol(value);
        else if (!strcmp(name, "--rate")) rate = atof(value);
        else if (!strcmp(name, "--stream")) streaming = atoi(value);
        else if (!strcmp(name, "--interval-us")) interval_us = atol(value);
        else if (!strcmp(name, "--ramp")) ramp_s = atof(value);
        else if (!strcmp(name, "--warm-up")) warm_up = atof(value);
        else if (!strcmp(name, "--seconds")) seconds = atof(value);
        else { fprintf(stderr, "load: unknown option %s\n", name); exit(2); }
    }
    if (!port || !body_file) { fprintf(stderr, "load: --port and --body are needed\n"); exit(2); }
}

static void report(double took) {
    printf("{\"seconds\":%.4f,\"done\":%llu,\"failed\":%llu,\"last_status\":%d,\"events\":%llu,\"torn\":%llu,"
           "\"whole_streams\":%llu,\"whole_events\":%llu", took, (unsigned long long)done, (unsigned long long)failed,
           last_status, (unsigned long long)events, (unsigned long long)torn, (unsigned long long)whole_streams,
           (unsigned long long)whole_events);
    tell("latency_us", &latency);
    tell("ttft_us", &first_byte);
    tell("gap_us", &gap);
    tell("jitter_us", &jitter);
    puts("}");
}

int main(int argc, char **argv) {
    options(argc, argv);
    body = slurp(body_file, &body_length);
    size_t ignored;
    if (keys_file) keys = slurp(keys_file, &ignored);
    poller = epoll_create1(EPOLL_CLOEXEC);
    conns = calloc((size_t)connections, sizeof *conns);
    if (!conns) abort();
    write_requests();
    uint64_t start = now_ns(), opens = start + (uint64_t)(warm_up * 1e9), closes = opens + (uint64_t)(seconds * 1e9);
    uint64_t ramp = streaming ? (uint64_t)interval_us * 1000u : (uint64_t)2e6; /* streams begin spread over one pace */
    if (ramp_s > 0) ramp = (uint64_t)(ramp_s * 1e9);
    for (long i = 0; i < connections && (rate > 0 || ramp_s <= 0); i++) {
        open_conn(&conns[i]);
        if (rate > 0) set_free(&conns[i]);
    }
    long begun = rate > 0 ? connections : 0;
    uint64_t fallen_due = 0, opened_at = 0;
    struct epoll_event found[1024];
    for (;;) {
        uint64_t now = now_ns(), next = measuring ? closes : opens;
        if (!measuring && now >= opens) {
            puts("begin");
            fflush(stdout);
            measuring = 1;
            opened_at = now;
            next = closes;
        } else if (measuring && now >= closes) {
            puts("end");
            fflush(stdout);
            report((double)(now - opened_at) / 1e9);
            return 0;
        }
        while (begun < connections && now >= start + (uint64_t)begun * ramp / (uint64_t)connections) {
            if (ramp_s > 0) open_conn(&conns[begun]);
            ask(&conns[begun++], now, now);
        }
        if (begun < connections) next = start + (uint64_t)begun * ramp / (uint64_t)connections;
        if (rate > 0) {
            uint64_t due = start + (uint64_t)((double)fallen_due * 1e9 / rate);
            for (; due <= now && free_first; due = start + (uint64_t)((double)++fallen_due * 1e9 / rate)) {
                conn *c = free_first;
                free_first = c->next_free;
                ask(c, due, now);
            }
            if (free_first && due < next) next = due;
        }
        uint64_t rest = next > now ? next - now : 0;
        struct timespec wait = {(time_t)(rest / 1000000000u), (long)(rest % 1000000000u)};
        int many = epoll_pwait2(poller, found, 1024, &wait, NULL);
        now = now_ns();
        for (int i = 0; i < many; i++) serve(found[i].data.ptr, found[i].events, now);
    }
}
