/* System calls that fail: the n-th call through the table `os`. */
#ifndef SUPPORT_FAULTS_H
#define SUPPORT_FAULTS_H

#include <stddef.h>
#include <sys/types.h>

/* From here on the n-th call (the first is 1) fails with this errno and does nothing; close and
 * unmap do their work and then tell of a failure, as Linux does. */
void faults_begin(unsigned n, int number);

/* For threads: faults_install puts the table in its place, where nothing fails until faults_arm.
 * faults_disarm gives the name of the entry that failed, as faults_end, and leaves the table. */
enum faults_how {
    FAULTS_ONCE,
    FAULTS_FOR_EVER, /* the n-th and all after it */
    FAULTS_MOVES,    /* of reads and writes only: the n-th fails */
    FAULTS_SHORT     /* the same; it does a part of its work and does not fail */
};
void faults_install(void);
void faults_arm(unsigned n, int number, enum faults_how how);
const char *faults_disarm(void);

/* With errno 0 the process ends before the n-th call, as if it were killed, with this status. */
enum { FAULTS_STOPPED = 77 };

/* Puts the table back as it was. The name of the entry that failed, NULL where there were fewer
 * calls than n. */
const char *faults_end(void);

/* For one entry of the table: EIO, and ENOSPC where something is allocated. */
int sync_fails(int fd);
int no_space(int fd, off_t offset, off_t len);

/* What this process holds. */
struct held {
    size_t descriptors;
    long space; /* address space in MiB */
};

struct held held_now(void);

/* Fails the test where descriptors or mappings have been left behind. */
void held_as(struct held before);

#endif
