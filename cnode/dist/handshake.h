/* The distribution handshake, version 6, on the side that is called; a state machine over bytes.
 *
 *   they                                   we
 *   send_name  'N' (or 'n' and then 'c')
 *                                          status 's', challenge 'N'
 *   (complement 'c'), challenge reply 'r'
 *                                          challenge acknowledged 'a'
 */
#ifndef DIST_HANDSHAKE_H
#define DIST_HANDSHAKE_H

#include "dist/cookies.h"
#include "sys/buf.h"
#include "sys/bytes.h"

enum {
    HANDSHAKE_NAME_MAX = 255 * 4, /* bytes of a peer's name */
    HANDSHAKE_IN_MAX = 2048,      /* no message of the handshake is longer */
    HANDSHAKE_RANDOM = 20,        /* bytes that handshake_init takes */
};

/* What we are; outlives the handshake. */
struct handshake_self {
    const char *name;
    const struct cookies *cookies;
    uint32_t creation;
    bool (*has_place)(void *arg, const char *peer); /* for a node of this name? NULL: always */
    void *arg;
};

struct handshake {
    const struct handshake_self *self;
    enum { WAIT_NAME, WAIT_COMPLEMENT, WAIT_REPLY, HAS_ENDED, HAS_FAILED } state;
    uint8_t random[HANDSHAKE_RANDOM];
    uint32_t challenge;
    uint64_t flags;   /* the peer's */
    uint64_t offered; /* ours */
    char peer[HANDSHAKE_NAME_MAX + 1];
    char why[160]; /* a line for the log, where it failed */
};

/* What changes the form of messages, where both sides offer it. */
#define HANDSHAKE_SEND_SENDER  ((uint64_t)0x80000)
#define HANDSHAKE_EXIT_PAYLOAD ((uint64_t)0x400000)

enum handshake_result {
    HANDSHAKE_MORE,  /* the output, if any, is to be sent, and more input is due */
    HANDSHAKE_DONE,  /* the output is to be sent; h->peer is who they say and prove they are */
    HANDSHAKE_FAILED /* the output is to be sent, then the connection closed; h->why says why */
};

/* random: HANDSHAKE_RANDOM bytes that nobody can guess. */
void handshake_init(struct handshake *h, const struct handshake_self *self, const uint8_t *random);

/* handshake_step takes whole messages off the front of *in and appends answers to out. Once it is
 * done what is left in *in belongs to what comes after the handshake. */
enum handshake_result handshake_step(struct handshake *h, struct span *in, struct buf *out);

/* Is this offered by both? Once it is done. */
bool handshake_agreed(const struct handshake *h, uint64_t flag);

/* MD5 of the cookie and the challenge's decimal digits: how both sides prove that they know it. */
void handshake_digest(struct span cookie, uint32_t challenge, uint8_t digest[16]);

#endif
