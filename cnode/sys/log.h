/* The log: one line an event, "LEVEL text", to standard error or a file. The writer never waits:
 * a line that a full pipe refuses is dropped and counted, and the next line tells how many. */
#ifndef SYS_LOG_H
#define SYS_LOG_H

#include <stdbool.h>

/* X(name): in the order of weight, the names of Erlang's logger. */
#define LOG_LEVELS(X) X(error) X(warning) X(notice) X(info) X(debug)

enum log_level {
#define LOG_ENUM(name) LOG_##name,
    LOG_LEVELS(LOG_ENUM)
#undef LOG_ENUM
};

/* log_open directs the log to the file, or to standard error where path is NULL.
 * False (errno says why): the file cannot be opened; the log goes where it went. */
bool log_open(const char *path);

/* log_reopen opens the same path anew, for log rotation. */
bool log_reopen(void);

void log_set_level(enum log_level level);

/* log_level_named: false where there is no such level. */
bool log_level_named(const char *name, enum log_level *level);

void log_line(enum log_level level, const char *format, ...) __attribute__((format(printf, 2, 3)));

#define log_error(...)   log_line(LOG_error, __VA_ARGS__)
#define log_warning(...) log_line(LOG_warning, __VA_ARGS__)
#define log_notice(...)  log_line(LOG_notice, __VA_ARGS__)
#define log_info(...)    log_line(LOG_info, __VA_ARGS__)
#define log_debug(...)   log_line(LOG_debug, __VA_ARGS__)

#endif
