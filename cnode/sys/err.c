#include "sys/err.h"

#include <errno.h>
#include <stddef.h>

#include "sys/bytes.h"

static const struct {
    enum err_shape shape;
    const char *atom;
    const char *text;
} rows[ERR_COUNT] = {[OK] = {.atom = "ok", .text = "ok"},
#define ERR_ROW(name, s, a, t) [ERR_##name] = {.shape = ERR_##s, .atom = a, .text = t},
                     ERR_LIST(ERR_ROW)
#undef ERR_ROW
};

static const struct {
    int number;
    enum err err;
} numbers[] = {
    {EACCES, ERR_EACCES},  {EPERM, ERR_EPERM},     {ENOENT, ERR_ENOENT},
    {EEXIST, ERR_EEXIST},  {EISDIR, ERR_EISDIR},   {ENOTDIR, ERR_ENOTDIR},
    {ELOOP, ERR_ELOOP},    {EXDEV, ERR_EACCES},    {ENAMETOOLONG, ERR_ENAMETOOLONG},
    {ENOSPC, ERR_ENOSPC},  {EDQUOT, ERR_EDQUOT},   {EFBIG, ERR_EFBIG},
    {EIO, ERR_EIO},        {EROFS, ERR_EROFS},     {EMFILE, ERR_EMFILE},
    {ENFILE, ERR_ENFILE},  {ENOMEM, ERR_ENOMEM},   {EBUSY, ERR_EBUSY},
    {EINVAL, ERR_EINVAL},  {ENOTSUP, ERR_ENOTSUP}, {ENOSYS, ERR_ENOTSUP},
    {ENODEV, ERR_ENOTSUP}, {EAGAIN, ERR_LOCKED},   {ETXTBSY, ERR_EBUSY},
};

const char *err_atom(enum err e)
{
    must(e < ERR_COUNT);
    return rows[e].atom;
}

enum err_shape err_shape(enum err e)
{
    must(e < ERR_COUNT);
    return rows[e].shape;
}

const char *err_text(enum err e)
{
    must(e < ERR_COUNT);
    return rows[e].text;
}

enum err err_from_errno(int number)
{
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++)
        if (numbers[i].number == number)
            return numbers[i].err;
    return ERR_EIO;
}

enum err err_last(void)
{
    return err_from_errno(errno);
}
