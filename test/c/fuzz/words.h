/* The corpus as text; see fuzz/text.h for how it is read. */
#ifndef FUZZ_WORDS_H
#define FUZZ_WORDS_H

/* All end with NULL. */

/* Requests to `emmap`: each row of the table. */
extern const char *const words_requests[];

/* Requests to a registered queue. */
extern const char *const words_queue_requests[];

/* Ways in which a request comes; % is the request. */
extern const char *const words_calls[];
extern const char *const words_queue_calls[];

/* Functions `M,F,Args`, and ways to ask for one. */
extern const char *const words_functions[];
extern const char *const words_function_calls[];

/* Everything else: signals, messages of the system, of consoles. */
extern const char *const words_others[];

/* Lines typed at a console, and what may come back instead of a reply. */
extern const char *const words_lines[];
extern const char *const words_replies[];

/* Each kind of term. */
extern const char *const words_terms[];

#endif
