#include "sys/work.h"

#include "sys/bytes.h"

unsigned work_pending;

static void run(uv_work_t *work)
{
    struct job *job = work->data;
    job->run(job);
}

static void done(uv_work_t *work, int status)
{
    struct job *job = work->data;
    must(status == 0); /* nothing is ever cancelled */
    work_pending--;
    job->done(job);
}

void work_submit(uv_loop_t *loop, struct job *job)
{
    work_pending++;
    job->work.data = job;
    must(uv_queue_work(loop, &job->work, run, done) == 0);
}
