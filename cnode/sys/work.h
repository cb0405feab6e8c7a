/* Jobs for the worker pool: run there, answered on the loop. */
#ifndef SYS_WORK_H
#define SYS_WORK_H

#include <uv.h>

struct job {
    void (*run)(struct job *job);  /* in a worker */
    void (*done)(struct job *job); /* on the loop, afterwards; may free the job */
    uv_work_t work;
};

/* Jobs given and not yet done, of all loops of this process. */
extern unsigned work_pending;

void work_submit(uv_loop_t *loop, struct job *job);

#endif
