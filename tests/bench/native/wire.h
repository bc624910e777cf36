/* What the programs of the benchmark share: frame heads and masking (RFC 6455, 5.2 and 5.3). */

#ifndef WIRE_H
#define WIRE_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { TEXT = 1, BINARY = 2, CLOSE = 8, PING = 9, PONG = 10 };
enum { FIN = 0x80, MASK = 0x80, LONGEST_HEAD = 14 };

/* The key and the answer to it that section 1.3 gives as an example: every handshake of the
 * benchmark uses them, so that its programs need no SHA-1. */
#define KEY "dGhlIHNhbXBsZSBub25jZQ=="
#define ACCEPT "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="

#define SWITCHING_PROTOCOLS                                                                        \
    "HTTP/1.1 101 Switching Protocols\r\n"                                                         \
    "Upgrade: websocket\r\n"                                                                       \
    "Connection: Upgrade\r\n"                                                                      \
    "Sec-WebSocket-Accept: " ACCEPT "\r\n\r\n"

typedef unsigned char byte;

struct head {
    int fin, opcode, masked;
    uint64_t size;
    const byte *key;
};

static inline void fail(const char *what)
{
    fprintf(stderr, "%s\n", what);
    exit(1);
}

static inline void *allocate(void *old, size_t size)
{
    void *new = realloc(old, size);
    if (new == NULL)
        fail("out of memory");
    return new;
}

static inline double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec + time.tv_nsec / 1e9;
}

/* Parse the head of a frame; return its length, or 0 if `have` bytes do not hold all of it. */
static inline size_t parse_head(const byte *data, size_t have, struct head *head)
{
    size_t length = 2;
    if (have < 2)
        return 0;
    head->fin = data[0] & FIN;
    head->opcode = data[0] & 15;
    head->masked = data[1] & MASK;
    head->size = data[1] & 127;
    if (head->size >= 126) {
        size_t end = head->size == 126 ? 4 : 10;
        if (have < end)
            return 0;
        for (head->size = 0; length < end; length++)
            head->size = head->size << 8 | data[length];
    }
    if (head->masked) {
        head->key = data + length;
        length += 4;
    }
    return have < length ? 0 : length;
}

/* Write the head of an unfragmented frame without a masking key; return its length. */
static inline size_t write_head(byte *to, int opcode, uint64_t size, int mask)
{
    size_t length = 2, shift;
    to[0] = FIN | opcode;
    if (size < 126) {
        to[1] = mask | size;
        return length;
    }
    to[1] = mask | (size < 65536 ? 126 : 127);
    for (shift = size < 65536 ? 16 : 64; shift; shift -= 8)
        to[length++] = size >> (shift - 8);
    return length;
}

static inline void apply_mask(byte *to, const byte *from, size_t size, const byte *key)
{
    uint64_t word, wide_key;
    size_t i = 0;
    memcpy(&wide_key, key, 4);
    memcpy((byte *)&wide_key + 4, key, 4);
    for (; i + 8 <= size; i += 8) {
        memcpy(&word, from + i, 8);
        word ^= wide_key;
        memcpy(to + i, &word, 8);
    }
    for (; i < size; i++)
        to[i] = from[i] ^ key[i & 3];
}

#endif
