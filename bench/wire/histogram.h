/* Times in nanoseconds, kept to one part in 256: what percentiles are taken from. */
#ifndef HISTOGRAM_H
#define HISTOGRAM_H
#include <stdint.h>
#include <stdio.h>

#define SUB_BITS 8
#define SUB (1 << SUB_BITS)
#define SLOTS (SUB * 48)

typedef struct { uint64_t slot[SLOTS], count, most; double sum; } histogram;

static inline unsigned slot_of(uint64_t value) {
    if (value < SUB) return (unsigned)value;
    unsigned shift = (unsigned)(63 - __builtin_clzll(value)) - SUB_BITS;
    unsigned slot = (shift + 1) * SUB + (unsigned)((value >> shift) - SUB);
    return slot < SLOTS ? slot : SLOTS - 1;
}

static inline double value_of(unsigned slot) { /* the middle of the slot */
    if (slot < SUB) return slot;
    unsigned shift = slot / SUB - 1;
    return ((double)(slot % SUB + SUB) + 0.5) * (double)((uint64_t)1 << shift);
}

static inline void add(histogram *h, uint64_t value) {
    h->slot[slot_of(value)]++;
    h->count++;
    h->sum += (double)value;
    if (value > h->most) h->most = value;
}

static inline double quantile_us(const histogram *h, double part) {
    uint64_t rank = (uint64_t)(part * (double)h->count), seen = 0;
    for (unsigned i = 0; i < SLOTS; i++) {
        seen += h->slot[i];
        if (seen > rank) return value_of(i) / 1000.0;
    }
    return (double)h->most / 1000.0;
}

static inline void tell(const char *name, const histogram *h) {
    printf(",\"%s\":{\"count\":%llu,\"mean\":%.1f,\"p50\":%.1f,\"p90\":%.1f,\"p99\":%.1f,\"p999\":%.1f,\"max\":%.1f}", name,
           (unsigned long long)h->count, h->count ? h->sum / (double)h->count / 1000.0 : 0.0, quantile_us(h, 0.5),
           quantile_us(h, 0.9), quantile_us(h, 0.99), quantile_us(h, 0.999), (double)h->most / 1000.0);
}
#endif
