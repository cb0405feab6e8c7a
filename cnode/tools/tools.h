/* Subcommands of emmapd: they need no node and no network. */
#ifndef TOOLS_TOOLS_H
#define TOOLS_TOOLS_H

/* tools_run runs the one that argv[0] names. The exit status: 0 done, 1 damaged or refused, 2 wrong
 * use, or it cannot be read. */
int tools_run(int argc, char **argv);

enum { TOOL_DONE = 0, TOOL_REFUSED = 1, TOOL_FAILED = 2 };

/* journal.c */
int tool_repair_journal(const char *data_dir);
int tool_forget_journal(const char *file);

#endif
