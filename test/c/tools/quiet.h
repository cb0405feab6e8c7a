/* A subcommand as a test calls it: what it says is no part of the test's output. */
#ifndef TOOLS_QUIET_H
#define TOOLS_QUIET_H

#include <fcntl.h>
#include <unistd.h>

#include "sys/bytes.h"
#include "tools/tools.h"

/* Its exit status. What it wrote to standard output is in `text`, where that is not NULL. */
static inline int quiet_run(char **argv, char *text, size_t size)
{
    int argc = 0;
    while (argv[argc] != NULL)
        argc++;
    fflush(NULL);
    FILE *output = tmpfile();
    const int said[] = {dup(STDOUT_FILENO), dup(STDERR_FILENO)};
    const int null = open("/dev/null", O_WRONLY | O_CLOEXEC);
    must(output != NULL && said[0] >= 0 && said[1] >= 0 && null >= 0);
    dup2(fileno(output), STDOUT_FILENO);
    dup2(null, STDERR_FILENO);
    const int exit_code = tools_run(argc, argv);
    fflush(NULL);
    dup2(said[0], STDOUT_FILENO);
    dup2(said[1], STDERR_FILENO);
    close(said[0]);
    close(said[1]);
    close(null);
    rewind(output);
    if (text != NULL)
        text[fread(text, 1, size - 1, output)] = '\0';
    fclose(output);
    return exit_code;
}

#endif
