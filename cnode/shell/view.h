/* Replies as an operator reads them: aligned tables, sizes and times with units. Each view appends
 * whole lines to `out`. */
#ifndef SHELL_VIEW_H
#define SHELL_VIEW_H

#include "shell/sample.h"
#include "sys/buf.h"

struct view {
    struct buf *out;
    size_t columns, rows;    /* of the terminal */
    const char *dir;         /* names beneath it are shown without */
    struct span request;     /* what is answered */
    struct samples *samples; /* of the look before */
    uint64_t now_ms;
};

void view_term(struct view *v, struct span reply);
void view_node(struct view *v, struct span reply);
void view_object(struct view *v, struct span reply);
void view_list(struct view *v, struct span reply);
void view_top(struct view *v, struct span reply);
void view_clients(struct view *v, struct span reply);
void view_queues(struct view *v, struct span reply);
void view_items(struct view *v, struct span reply);
void view_counters(struct view *v, struct span reply);
void view_region(struct view *v, struct span reply);

/* The first line of a console, from `info`; and what rates are compared with, from `list`: nothing
 * is shown. */
void view_banner(struct view *v, struct span reply);
void view_sample(struct view *v, struct span reply);

/* Is it {error, Reason}? */
bool view_is_error(struct span reply);

/* The reason and what it means, without the line's end. */
void view_error(struct view *v, struct span reply);

#endif
