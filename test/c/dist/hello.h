/* The calling side of a handshake, message by message. */
#ifndef DIST_HELLO_H
#define DIST_HELLO_H

#include "bytes_written.h"
#include "dist/handshake.h"

#define HELLO_FLAGS 0xd07df7fbdull /* of OTP 25 */

/* 'N', as a node of this name and these capabilities. */
static inline void hello_name(struct bytes *b, uint64_t flags, const char *name)
{
    add_u16(b, 15 + strlen(name));
    add_text(b, "N");
    add_u32(b, (size_t)(flags >> 32));
    add_u32(b, (size_t)(flags & UINT32_MAX));
    add_u32(b, 7);
    add_u16(b, strlen(name));
    add_text(b, name);
}

/* 'n', which has half of the flags, and its complement, which has the other. */
static inline void hello_old_name(struct bytes *b, uint64_t flags, const char *name)
{
    add_u16(b, 7 + strlen(name));
    add_text(b, "n");
    add_u16(b, 5);
    add_u32(b, (size_t)(flags & UINT32_MAX));
    add_text(b, name);
}

static inline void hello_complement(struct bytes *b, uint64_t flags)
{
    add_u16(b, 9);
    add_text(b, "c");
    add_u32(b, (size_t)(flags >> 32));
    add_u32(b, 7);
}

static inline void hello_reply(struct bytes *b, const char *cookie, uint32_t challenge)
{
    uint8_t digest[16];
    handshake_digest(span_text(cookie), challenge, digest);
    add_u16(b, 21);
    add_text(b, "r");
    add_u32(b, 99);
    add(b, digest, sizeof digest);
}

/* The challenge in what the called side has sent, behind its status. */
static inline uint32_t hello_challenge(struct span sent)
{
    const size_t status = 2u + get_be16(sent.at);
    assert(sent.at[status + 2] == 'N');
    return get_be32(sent.at + status + 3 + 8);
}

#endif
