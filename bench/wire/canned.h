/* What the mock answers with, made once and sent many times. */
#ifndef CANNED_H
#define CANNED_H
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BATCH 64 /* events written together when nothing paces them */
#define MOST_EVENT 4096

static long reply_bytes = 1024, events = 64, interval_us = 0, event_bytes = 200;
static char *reply, *event, *batch; /* a whole answer; one event as a chunk; BATCH of them */
static size_t reply_length, event_length;

static void *must(void *p) {
    if (!p) abort();
    return p;
}

static char *filler(long length) {
    char *text = must(malloc((size_t)length + 1));
    for (long i = 0; i < length; i++) text[i] = "the quick brown fox "[i % 20];
    text[length] = 0;
    return text;
}

static void prepare(void) {
    char shape[] =
        "{\"id\":\"chatcmpl-bench\",\"object\":\"chat.completion\",\"created\":1760000000,\"model\":\"bench\",\"choices\":[{"
        "\"index\":0,\"message\":{\"role\":\"assistant\",\"content\":\"%s\"},\"finish_reason\":\"stop\"}],"
        "\"usage\":{\"prompt_tokens\":9,\"completion_tokens\":9,\"total_tokens\":18}}";
    long rest = reply_bytes - (long)sizeof shape + 3;
    char *text = filler(rest > 0 ? rest : 0), *body = must(malloc((size_t)reply_bytes + sizeof shape));
    int length = sprintf(body, shape, text);
    free(text);
    free(reply);
    reply = must(malloc((size_t)length + 256));
    reply_length = (size_t)sprintf(
        reply, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", length, body);
    free(body);
    const char chunk[] =
        "data: {\"id\":\"chatcmpl-bench\",\"object\":\"chat.completion.chunk\",\"created\":1760000000,\"model\":\"bench\","
        "\"choices\":[{\"index\":0,\"delta\":{\"content\":\"%s\"},\"finish_reason\":null}]}\n\n";
    char data[MOST_EVENT + sizeof chunk];
    rest = event_bytes - (long)sizeof chunk + 3;
    text = filler(rest < 1 ? 1 : rest > MOST_EVENT ? MOST_EVENT : rest);
    length = sprintf(data, chunk, text);
    free(text);
    free(event);
    event = must(malloc((size_t)length + 64));
    event_length = (size_t)sprintf(event, "%x\r\n%s\r\n", length, data);
    free(batch);
    batch = must(malloc(BATCH * event_length));
    for (int i = 0; i < BATCH; i++) memcpy(batch + (size_t)i * event_length, event, event_length);
}
#endif
