#include "dist/self.h"

#include <ei.h>

void self_init(struct self *s, const char *name, uint32_t random)
{
    must(strlen(name) <= SELF_NAME_MAX);
    *s = (struct self){.creation = random < 4 ? random + 4 : random, .last_id = SELF_FIRST_SPAWNED};
    memcpy(s->name, name, strlen(name));
}

uint32_t self_new_id(struct self *s)
{
    s->last_id = s->last_id == SELF_LAST_SPAWNED ? SELF_FIRST_SPAWNED : s->last_id + 1;
    return s->last_id;
}

static uint8_t *put_name(const struct self *s, uint8_t *to)
{
    size_t len = strlen(s->name);
    *to++ = ERL_SMALL_ATOM_UTF8_EXT;
    *to++ = (uint8_t)len;
    memcpy(to, s->name, len);
    return to + len;
}

static uint8_t *put_word(uint8_t *to, uint32_t v)
{
    put_be32(to, v);
    return to + 4;
}

struct span self_pid(const struct self *s, uint32_t id, uint8_t *to)
{
    uint8_t *end = to;
    *end++ = ERL_NEW_PID_EXT;
    end = put_name(s, end);
    end = put_word(end, id);
    end = put_word(end, 0);
    end = put_word(end, s->creation);
    return span_of(to, (size_t)(end - to));
}

struct span self_ref(const struct self *s, uint64_t number, uint8_t *to)
{
    uint8_t *end = to;
    *end++ = ERL_NEWER_REFERENCE_EXT;
    put_be16(end, 3);
    end = put_name(s, end + 2);
    end = put_word(end, s->creation);
    end = put_word(end, 0); /* the first word has 18 bits only */
    end = put_word(end, (uint32_t)(number >> 32));
    end = put_word(end, (uint32_t)number);
    return span_of(to, (size_t)(end - to));
}

/* The name of the atom at the front of `at`, and how many bytes the atom has. */
static struct span atom_at(struct span at, size_t *whole)
{
    const bool small = at.at[0] == ERL_SMALL_ATOM_EXT || at.at[0] == ERL_SMALL_ATOM_UTF8_EXT;
    const size_t head = small ? 2 : 3;
    const size_t len = small ? at.at[1] : get_be16(at.at + 1);
    *whole = head + len;
    return span_of(at.at + head, len);
}

static bool is_own_name(const struct self *s, struct span at, size_t *whole)
{
    return span_equal(atom_at(at, whole), span_text(s->name));
}

bool self_is_pid(const struct self *s, struct span pid, uint32_t *id)
{
    size_t name;
    if (pid.len == 0 || pid.at[0] != ERL_NEW_PID_EXT ||
        !is_own_name(s, span_of(pid.at + 1, pid.len - 1), &name))
        return false;
    const uint8_t *words = pid.at + 1 + name;
    if (get_be32(words + 4) != 0 || get_be32(words + 8) != s->creation)
        return false;
    *id = get_be32(words);
    return true;
}

bool self_is_ref(const struct self *s, struct span ref, uint64_t *number)
{
    size_t name;
    if (ref.len == 0 || ref.at[0] != ERL_NEWER_REFERENCE_EXT || get_be16(ref.at + 1) != 3 ||
        !is_own_name(s, span_of(ref.at + 3, ref.len - 3), &name))
        return false;
    const uint8_t *words = ref.at + 3 + name;
    if (get_be32(words) != s->creation || get_be32(words + 4) != 0)
        return false;
    *number = get_be64(words + 8);
    return true;
}

struct span self_node_of_pid(struct span pid)
{
    size_t name;
    if (pid.len == 0 || (pid.at[0] != ERL_NEW_PID_EXT && pid.at[0] != ERL_PID_EXT))
        return span_of(NULL, 0);
    return atom_at(span_of(pid.at + 1, pid.len - 1), &name);
}
