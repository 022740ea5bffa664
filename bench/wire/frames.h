/* What front and back tell each other about an exchange: frames on a socketpair, those of one pass in one write. */
#ifndef FRAMES_H
#define FRAMES_H
#include "peers.h"

#define SLOTS 65536 /* exchanges of one channel at a time */
#define PASS (256 * 1024) /* bytes of one read from the channel: more than a socket holds by default */

enum kind { ASK, LEFT, PART, LAST }; /* the front asks, or its client left; the back answers */
typedef struct { uint32_t length, exchange, kind; } frame;

static void add_frame(buffer *b, enum kind kind, uint32_t exchange, const char *data, size_t length) {
    frame head = {(uint32_t)length, exchange, kind};
    put(b, &head, sizeof head);
    put(b, data, length);
}

/* The payload of the first whole frame, which is taken off; NULL when there is none. */
static char *next_frame(buffer *b, frame *head) {
    if (b->end - b->at < sizeof *head) return NULL;
    memcpy(head, b->data + b->at, sizeof *head);
    if (b->end - b->at < sizeof *head + head->length) return NULL;
    char *payload = b->data + b->at + sizeof *head;
    b->at += sizeof *head + head->length;
    return payload;
}

static peer *open_channel(int fd, void (*serve)(peer *, uint32_t)) {
    peer *channel = must(calloc(1, sizeof *channel));
    channel->fd = fd;
    channel->serve = serve;
    channel->exchanges = must(calloc(SLOTS, sizeof *channel->exchanges));
    watch(channel, EPOLL_CTL_ADD, EPOLLIN);
    return channel;
}
#endif
