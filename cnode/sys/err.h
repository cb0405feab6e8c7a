/* Every error there is: the enum, the reply, the text for the log. */
#ifndef SYS_ERR_H
#define SYS_ERR_H

/* How the reason is written in a reply: `atom`, `{limit, atom}`, `{not_a, atom}`,
 * `{wrong_kind, atom}`, `{locked, unknown}`. DETAIL: who has the details writes it himself,
 * `{size_mismatch, Actual, Wanted}`, `{invalid_file_header, Bytes}`. */
enum err_shape { ERR_PLAIN, ERR_LIMIT, ERR_NOT_A, ERR_WRONG_KIND, ERR_HELD, ERR_DETAIL };

/* X(name, shape, atom, text) */
#define ERR_LIST(X)                                                                                \
    X(WOULD_BLOCK, PLAIN, "would_block", "a disk has to be waited for")                            \
    X(WAIT, PLAIN, "wait", "an item has to be waited for")                                         \
    X(BADARG, PLAIN, "badarg", "a wrong argument")                                                 \
    X(CLOSED, PLAIN, "closed", "the handle is closed")                                             \
    X(STALE, PLAIN, "stale", "an id of an earlier connection")                                     \
    X(NOT_OPEN, PLAIN, "not_open", "nobody has this file open")                                    \
    X(EACCES, PLAIN, "eacces", "permission denied")                                                \
    X(EPERM, PLAIN, "eperm", "operation not permitted")                                            \
    X(ENOENT, PLAIN, "enoent", "no such file or directory")                                        \
    X(EEXIST, PLAIN, "eexist", "the file exists")                                                  \
    X(EISDIR, PLAIN, "eisdir", "is a directory")                                                   \
    X(ENOTDIR, PLAIN, "enotdir", "not a directory")                                                \
    X(ELOOP, PLAIN, "eloop", "too many symbolic links")                                            \
    X(ENAMETOOLONG, PLAIN, "enametoolong", "the name is too long")                                 \
    X(ENOSPC, PLAIN, "enospc", "no space left")                                                    \
    X(EDQUOT, PLAIN, "edquot", "disk quota exceeded")                                              \
    X(EFBIG, PLAIN, "efbig", "the file would be too large")                                        \
    X(EIO, PLAIN, "eio", "input/output error")                                                     \
    X(EROFS, PLAIN, "erofs", "read-only file system")                                              \
    X(EMFILE, PLAIN, "emfile", "too many open files")                                              \
    X(ENFILE, PLAIN, "enfile", "too many open files on the host")                                  \
    X(ENOMEM, PLAIN, "enomem", "out of memory")                                                    \
    X(EBUSY, PLAIN, "ebusy", "busy")                                                               \
    X(EINVAL, PLAIN, "einval", "invalid argument")                                                 \
    X(ENOTSUP, PLAIN, "enotsup", "not supported here")                                             \
    X(FIXED_SIZE, PLAIN, "fixed_size", "the size is fixed")                                        \
    X(ALIGNMENT, PLAIN, "alignment", "the position is not a multiple of 8")                        \
    X(NEEDS_JOURNAL, DETAIL, "needs_journal", "a journal elsewhere has changes of the file")       \
    X(LOCKED, HELD, "locked", "another program holds the file")                                    \
    X(SIZE_MISMATCH, DETAIL, "size_mismatch", "the file has another size")                         \
    X(FILE_HEADER, DETAIL, "invalid_file_header", "the file does not begin as it should")          \
    X(NOT_REGULAR, NOT_A, "regular_file", "not a regular file")                                    \
    X(NOT_QUEUE, NOT_A, "queue", "not a queue")                                                    \
    X(NOT_BLOCKS, NOT_A, "blocks", "not a block store")                                            \
    X(BLOCK_SIZE, DETAIL, "block_size", "the blocks of the store have another size")               \
    X(CORRUPT, DETAIL, "corrupt", "the block is not whole")                                        \
    X(KIND_REGION, WRONG_KIND, "region", "the object is a region")                                 \
    X(KIND_COUNTERS, WRONG_KIND, "counters", "the object is a set of counters")                    \
    X(KIND_BLOCKS, WRONG_KIND, "blocks", "the object is a block store")                            \
    X(KIND_QUEUE, WRONG_KIND, "queue", "the object is a queue")                                    \
    X(DAMAGED, DETAIL, "damaged", "the file is damaged")                                           \
    X(FULL, PLAIN, "full", "the queue is full")                                                    \
    X(EMPTY, PLAIN, "empty", "nothing is ready")                                                   \
    X(CHECKPOINT, PLAIN, "checkpoint", "a checkpoint has to end first")                            \
    X(NOT_LEASED, PLAIN, "not_leased", "the caller does not hold this item")                       \
    X(REGISTERED, DETAIL, "already_registered", "the name belongs to another file")                \
    X(MAX_FRAME, LIMIT, "max_frame", "longer than a frame may be")                                 \
    X(MAX_UNSENT, LIMIT, "max_unsent", "too many answers wait unsent")                             \
    X(MAX_PENDING, LIMIT, "max_pending", "too many requests wait")                                 \
    X(MAX_OBJECTS, LIMIT, "max_objects", "too many open objects")                                  \
    X(MAX_OBJECT_BYTES, LIMIT, "max_object_bytes", "the object would be too long")                 \
    X(MAX_MAPPED, LIMIT, "max_mapped", "too many bytes of all objects are mapped")                 \
    X(RESERVE_FDS, LIMIT, "reserve_fds", "the descriptors that are left are kept in reserve")      \
    X(MAX_HANDLES, LIMIT, "max_handles", "too many open handles")                                  \
    X(MAX_LEASES, LIMIT, "max_leases", "too many leased items")                                    \
    X(MAX_WAITING, LIMIT, "max_waiting", "too many wait for items")                                \
    X(MAX_SUBSCRIBERS, LIMIT, "max_subscribers", "too many subscriptions")                         \
    X(MAX_ALL_PENDING, LIMIT, "max_all_pending", "too many requests of all nodes wait")            \
    X(MAX_ALL_HANDLES, LIMIT, "max_all_handles", "too many open handles of all nodes")             \
    X(MAX_ALL_LEASES, LIMIT, "max_all_leases", "too many leased items of all nodes")               \
    X(MAX_ALL_WAITING, LIMIT, "max_all_waiting", "too many of all nodes wait for items")           \
    X(MAX_ALL_SUBSCRIBERS, LIMIT, "max_all_subscribers", "too many subscriptions of all nodes")

enum err {
    OK = 0,
#define ERR_ENUM(name, shape, atom, text) ERR_##name,
    ERR_LIST(ERR_ENUM)
#undef ERR_ENUM
        ERR_COUNT
};

const char *err_atom(enum err e);
enum err_shape err_shape(enum err e);

/* err_text is for logs and error messages, "ok" for OK. */
const char *err_text(enum err e);

/* err_from_errno: ERR_EIO for a number that has no row. err_last: what errno says, after a call of
 * the system has failed. */
enum err err_from_errno(int number);
enum err err_last(void);

#endif
