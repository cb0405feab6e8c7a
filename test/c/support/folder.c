#include "support/folder.h"

#include <ftw.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sys/bytes.h"

char *folder_make(void)
{
    const char *base = getenv("TMPDIR");
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%s/emmap-test-XXXXXX", base == NULL ? "/tmp" : base);
    must(mkdtemp(path) != NULL);
    return strdup(path);
}

static int remove_one(const char *path, const struct stat *st, int flag, struct FTW *walk)
{
    (void)st;
    (void)flag;
    (void)walk;
    return remove(path);
}

void folder_remove(char *path)
{
    nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    free(path);
}

const char *folder_file(const char *path, const char *name)
{
    static char kept[16][PATH_MAX];
    static unsigned next;
    char *to = kept[next++ % 16];
    snprintf(to, PATH_MAX, "%s/%s", path, name);
    return to;
}
