#include "dist/handshake.h"

#include <ei.h>
#include <md5.h>

#include "proto/term.h"
#include "sys/secret.h"

enum {
    EXTENDED_REFERENCES = 0x4,
    DIST_MONITOR = 0x8,
    FUN_TAGS = 0x10,
    DIST_MONITOR_NAME = 0x20,
    NEW_FUN_TAGS = 0x80,
    EXTENDED_PIDS_PORTS = 0x100,
    EXPORT_PTR_TAG = 0x200,
    BIT_BINARIES = 0x400,
    NEW_FLOATS = 0x800,
    SMALL_ATOM_TAGS = 0x4000,
    UTF8_ATOMS = 0x10000,
    MAP_TAG = 0x20000,
    BIG_CREATION = 0x40000,
    HANDSHAKE_23 = 0x1000000,
    UNLINK_ID = 0x2000000,
    MANDATORY_25_DIGEST = 0x4000000, /* stands for all that OTP 25 demands */
};
#define SPAWN   ((uint64_t)1 << 32)
#define NAME_ME ((uint64_t)1 << 33)
#define V4_NC   ((uint64_t)1 << 34)

static const uint64_t demanded_by_25 =
    EXTENDED_REFERENCES | FUN_TAGS | NEW_FUN_TAGS | EXTENDED_PIDS_PORTS | EXPORT_PTR_TAG |
    BIT_BINARIES | NEW_FLOATS | UTF8_ATOMS | MAP_TAG | BIG_CREATION | HANDSHAKE_23;

static const uint64_t offered = demanded_by_25 | DIST_MONITOR | DIST_MONITOR_NAME |
                                SMALL_ATOM_TAGS | UNLINK_ID | MANDATORY_25_DIGEST | SPAWN | V4_NC |
                                HANDSHAKE_SEND_SENDER | HANDSHAKE_EXIT_PAYLOAD;

/* Whoever lacks one of these could not read what we send. */
static const uint64_t required = demanded_by_25 | UNLINK_ID | V4_NC;

void handshake_init(struct handshake *h, const struct handshake_self *self, const uint8_t *random)
{
    *h = (struct handshake){.self = self, .offered = offered, .challenge = get_be32(random)};
    memcpy(h->random, random, sizeof h->random);
}

void handshake_digest(struct span cookie, uint32_t challenge, uint8_t digest[16])
{
    char digits[16];
    const int n = snprintf(digits, sizeof digits, "%u", challenge);
    MD5_CTX md5;
    MD5Init(&md5);
    MD5Update(&md5, cookie.at, cookie.len);
    MD5Update(&md5, (const uint8_t *)digits, (size_t)n);
    MD5Final(digest, &md5);
    explicit_bzero(&md5, sizeof md5); /* it has had the cookie, and so has its stack */
    secret_wipe_stack();
}

bool handshake_agreed(const struct handshake *h, uint64_t flag)
{
    return (h->flags & h->offered & flag) != 0;
}

static bool digests_equal(const uint8_t *a, const uint8_t *b)
{
    unsigned differs = 0;
    for (int i = 0; i < 16; i++)
        differs |= (unsigned)(a[i] ^ b[i]); /* all of them, so that time tells nothing */
    return differs == 0;
}

static bool fail(struct handshake *h, const char *why)
{
    snprintf(h->why, sizeof h->why, "%s", why);
    return false;
}

static void put_u16(struct buf *out, size_t v)
{
    uint8_t bytes[2];
    put_be16(bytes, (uint16_t)v);
    buf_put(out, bytes, sizeof bytes);
}

static void put_u32(struct buf *out, uint32_t v)
{
    uint8_t bytes[4];
    put_be32(bytes, v);
    buf_put(out, bytes, sizeof bytes);
}

static void put_text(struct buf *out, const char *text)
{
    buf_put(out, text, strlen(text));
}

static void put_status(struct buf *out, const char *status)
{
    put_u16(out, 1 + strlen(status));
    put_text(out, "s");
    put_text(out, status);
}

/* The status that gives a nameless peer its name. */
static void put_named(const struct handshake *h, struct buf *out)
{
    const size_t len = strlen(h->peer);
    put_u16(out, 1 + strlen("named:") + 2 + len + 4);
    put_text(out, "snamed:");
    put_u16(out, len);
    put_text(out, h->peer);
    put_u32(out, get_be32(h->random + 4) | 4); /* creation: any but 0 to 3 */
}

static void put_challenge(const struct handshake *h, struct buf *out)
{
    const char *name = h->self->name;
    put_u16(out, 1 + 8 + 4 + 4 + 2 + strlen(name));
    put_text(out, "N");
    put_u32(out, (uint32_t)(h->offered >> 32));
    put_u32(out, (uint32_t)h->offered);
    put_u32(out, h->challenge);
    put_u32(out, h->self->creation);
    put_u16(out, strlen(name));
    put_text(out, name);
}

static void put_acknowledgement(const struct handshake *h, uint32_t challenge, struct buf *out)
{
    uint8_t digest[16];
    handshake_digest(cookies_of(h->self->cookies, h->peer), challenge, digest);
    put_u16(out, 1 + sizeof digest);
    put_text(out, "a");
    buf_put(out, digest, sizeof digest);
}

/* The name goes into logs and replies: an atom's length of UTF-8 without control characters. */
static bool is_text(struct span name)
{
    uint8_t atom[3 + HANDSHAKE_NAME_MAX] = {ERL_ATOM_UTF8_EXT};
    if (name.len == 0 || name.len > HANDSHAKE_NAME_MAX)
        return false;
    for (size_t i = 0; i < name.len; i++)
        if (name.at[i] <= ' ' || name.at[i] == 0x7f)
            return false;
    put_be16(atom + 1, (uint16_t)name.len);
    memcpy(atom + 3, name.at, name.len);
    return term_check(span_of(atom, 3 + name.len)) != 0;
}

static bool is_node_name(struct span name)
{
    const uint8_t *at = memchr(name.at, '@', name.len);
    return at != NULL && at != name.at && at + 1 < name.at + name.len &&
           memchr(at + 1, '@', name.len - (size_t)(at + 1 - name.at)) == NULL;
}

/* A nameless peer gives its host; what comes before the @ is random. */
static bool make_name(struct handshake *h, struct span host)
{
    static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    enum { HOST_MAX = 200 };
    char part[13];
    if (host.len > HOST_MAX || memchr(host.at, '@', host.len) != NULL)
        return false;
    for (size_t i = 0; i < sizeof part - 1; i++)
        part[i] = letters[h->random[8 + i] % 32];
    part[sizeof part - 1] = '\0';
    snprintf(h->peer, sizeof h->peer, "%s@%.*s", part, (int)host.len, (const char *)host.at);
    return true;
}

static bool take_name(struct handshake *h, struct span name)
{
    if (!is_text(name))
        return fail(h, "the peer's name is no node name");
    if (h->flags & NAME_ME) {
        h->offered |= NAME_ME;
        return make_name(h, name) || fail(h, "the nameless peer's host is no host name");
    }
    if (!is_node_name(name))
        return fail(h, "the peer's name is no node name");
    memcpy(h->peer, name.at, name.len);
    if (strcmp(h->peer, h->self->name) == 0)
        return fail(h, "the peer bears our own name");
    return true;
}

static void expand_flags(struct handshake *h)
{
    if (h->flags & MANDATORY_25_DIGEST)
        h->flags |= demanded_by_25;
}

static bool check_flags(struct handshake *h)
{
    const uint64_t missing = required & ~h->flags;
    if (missing == 0)
        return true;
    snprintf(h->why, sizeof h->why,
             "the peer lacks the capabilities 0x%llx, which nodes have from OTP 24 on",
             (unsigned long long)missing);
    return false;
}

/* 'N', flags:64, creation:32, length:16, name */
static bool take_new_name(struct handshake *h, struct span m)
{
    enum { FLAGS = 1, LENGTH = 13, NAME = 15 };
    if (m.len < NAME || m.len - NAME < get_be16(m.at + LENGTH))
        return fail(h, "the first message is cut short");
    h->flags = get_be64(m.at + FLAGS);
    expand_flags(h);
    h->state = WAIT_REPLY;
    return check_flags(h) && take_name(h, span_of(m.at + NAME, get_be16(m.at + LENGTH)));
}

/* 'n', version:16, flags:32, name: of a peer that has not asked epmd what we understand. The
 * other half of its flags follows in the complement. */
static bool take_old_name(struct handshake *h, struct span m)
{
    enum { FLAGS = 3, NAME = 7 };
    if (m.len < NAME)
        return fail(h, "the first message is cut short");
    h->flags = get_be32(m.at + FLAGS);
    if (!(h->flags & HANDSHAKE_23))
        return fail(h, "the peer speaks an older handshake than version 6 only");
    h->state = WAIT_COMPLEMENT;
    return take_name(h, span_of(m.at + NAME, m.len - NAME));
}

/* Not `nok`: that tells of a connection the other way, which the peer would wait for. */
static bool find_place(struct handshake *h, struct buf *out)
{
    const struct handshake_self *self = h->self;
    if (self->has_place == NULL || self->has_place(self->arg, h->peer))
        return true;
    put_status(out, "not_allowed");
    return fail(h, "as many nodes are connected as max_connections allows");
}

static bool take_first(struct handshake *h, struct span m, struct buf *out)
{
    const bool taken = m.at[0] == 'N'   ? take_new_name(h, m)
                       : m.at[0] == 'n' ? take_old_name(h, m)
                                        : fail(h, "what connected is no Erlang node");
    if (!taken) {
        put_status(out, "not_allowed");
        return false;
    }
    if (!find_place(h, out))
        return false;
    if (h->offered & NAME_ME)
        put_named(h, out);
    else
        put_status(out, "ok");
    put_challenge(h, out);
    return true;
}

/* 'c', the upper half of the flags:32, creation:32 */
static bool take_complement(struct handshake *h, struct span m)
{
    if (m.len != 9 || m.at[0] != 'c')
        return fail(h, "the complement of the old first message is due");
    h->flags |= (uint64_t)get_be32(m.at + 1) << 32;
    expand_flags(h);
    h->state = WAIT_REPLY;
    return check_flags(h);
}

/* 'r', their challenge:32, digest of ours */
static bool take_reply(struct handshake *h, struct span m, struct buf *out)
{
    uint8_t digest[16];
    if (m.len != 1 + 4 + sizeof digest || m.at[0] != 'r')
        return fail(h, "the reply to the challenge is due");
    handshake_digest(cookies_of(h->self->cookies, h->peer), h->challenge, digest);
    if (!digests_equal(digest, m.at + 5))
        return fail(h, "the peer has another cookie");
    put_acknowledgement(h, get_be32(m.at + 1), out);
    h->state = HAS_ENDED;
    return true;
}

static bool take(struct handshake *h, struct span m, struct buf *out)
{
    switch (h->state) {
    case WAIT_NAME: return take_first(h, m, out);
    case WAIT_COMPLEMENT: return take_complement(h, m);
    case WAIT_REPLY: return take_reply(h, m, out);
    default: return false;
    }
}

enum handshake_result handshake_step(struct handshake *h, struct span *in, struct buf *out)
{
    while (h->state != HAS_ENDED && h->state != HAS_FAILED && in->len >= 2) {
        const size_t len = get_be16(in->at);
        bool good = len > 0 && len <= HANDSHAKE_IN_MAX - 2;
        if (!good)
            fail(h, "what connected is no Erlang node");
        else if (in->len - 2 < len)
            return HANDSHAKE_MORE;
        else
            good = take(h, span_of(in->at + 2, len), out);
        if (!good) {
            h->state = HAS_FAILED;
            break;
        }
        *in = span_of(in->at + 2 + len, in->len - 2 - len);
    }
    return h->state == HAS_ENDED    ? HANDSHAKE_DONE
           : h->state == HAS_FAILED ? HANDSHAKE_FAILED
                                    : HANDSHAKE_MORE;
}
