/* One HTTP/1.1 answer as it arrives: its length, its chunks, the server-sent events in it. */
#ifndef ANSWER_H
#define ANSWER_H
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum stage { HEAD, SIZED, CHUNK_SIZE, CHUNK_DATA, CHUNK_END, TRAILER, UNTIL_CLOSE, WHOLE, BROKEN };

typedef struct {
    enum stage stage;
    int status, closes, started;
    long left;          /* of the body, or of the chunk */
    char head[16384];
    size_t head_length, line_length;
    char line[64];      /* a chunk's size, or a trailer */
    long events;        /* ended by an empty line */
    int newlines;       /* that end what was read so far: 2 between events */
    char tail[16];      /* the last bytes of the body */
    size_t tail_length;
} answer;

static inline void begin_answer(answer *a) {
    a->stage = HEAD;
    a->status = a->closes = a->started = a->newlines = 0;
    a->head_length = a->line_length = a->tail_length = 0;
    a->events = 0;
}

static inline void keep_tail(answer *a, const char *data, size_t length) {
    if (length >= sizeof a->tail) {
        memcpy(a->tail, data + length - sizeof a->tail, sizeof a->tail);
        a->tail_length = sizeof a->tail;
        return;
    }
    size_t kept = a->tail_length + length > sizeof a->tail ? sizeof a->tail - length : a->tail_length;
    memmove(a->tail, a->tail + a->tail_length - kept, kept);
    memcpy(a->tail + kept, data, length);
    a->tail_length = kept + length;
}

static inline int ends_with_done(const answer *a) { return memmem(a->tail, a->tail_length, "[DONE]", 6) != NULL; }

static inline void read_body(answer *a, const char *data, size_t length) {
    if (length == 0) return;
    a->started = 1;
    keep_tail(a, data, length);
    const char *at = data, *end = data + length;
    while (at < end) {
        if (*at == '\n') {
            if (++a->newlines == 2) a->events++;
            at++;
        } else if (*at == '\r') {
            at++;
        } else {
            a->newlines = 0;
            const char *next = memchr(at, '\n', (size_t)(end - at));
            at = next ? next : end;
        }
    }
}

static inline void read_head(answer *a) {
    a->head[a->head_length] = 0;
    a->status = a->head_length > 12 ? atoi(a->head + 9) : 0;
    a->closes = strcasestr(a->head, "\r\nconnection: close") != NULL;
    const char *length = strcasestr(a->head, "\r\ncontent-length:");
    if (strcasestr(a->head, "\r\ntransfer-encoding: chunked")) {
        a->stage = CHUNK_SIZE;
    } else if (length) {
        a->left = atol(length + 17);
        a->stage = a->left ? SIZED : WHOLE;
    } else {
        a->stage = UNTIL_CLOSE;
    }
}

static inline void line_ended(answer *a) {
    a->line[a->line_length] = 0;
    if (a->stage == CHUNK_SIZE) {
        a->left = strtol(a->line, NULL, 16);
        a->stage = a->left ? CHUNK_DATA : TRAILER;
    } else if (a->stage == CHUNK_END) {
        a->stage = CHUNK_SIZE;
    } else if (a->line_length == 0) {
        a->stage = WHOLE;
    }
    a->line_length = 0;
}

/* Take bytes until the answer is whole; how many were taken. */
static inline size_t take(answer *a, const char *data, size_t length) {
    size_t at = 0;
    while (at < length && a->stage != WHOLE && a->stage != BROKEN) {
        if (a->stage == HEAD) {
            if (a->head_length + 1 >= sizeof a->head) { a->stage = BROKEN; break; }
            a->head[a->head_length++] = data[at++];
            if (a->head_length >= 4 && !memcmp(a->head + a->head_length - 4, "\r\n\r\n", 4)) read_head(a);
        } else if (a->stage == SIZED || a->stage == CHUNK_DATA || a->stage == UNTIL_CLOSE) {
            size_t part = length - at;
            if (a->stage != UNTIL_CLOSE && part > (size_t)a->left) part = (size_t)a->left;
            read_body(a, data + at, part);
            at += part;
            a->left -= (long)part;
            if (a->stage != UNTIL_CLOSE && a->left == 0) a->stage = a->stage == SIZED ? WHOLE : CHUNK_END;
        } else {
            char c = data[at++];
            if (c == '\n') line_ended(a);
            else if (c != '\r' && a->line_length + 1 < sizeof a->line) a->line[a->line_length++] = c;
        }
    }
    return at;
}
#endif
