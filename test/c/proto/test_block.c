/* Requests for blocks. */
#include <fcntl.h>
#include <inttypes.h>
#include <semaphore.h>
#include <unistd.h>

#include "store/format.h"
#include "support/check.h"
#include "support/folder.h"
#include "support/peer.h"
#include "sys/os.h"

static struct host host;
static struct peer peer;
static uint64_t f;

static uint64_t open_file(const char *options)
{
    return opened(ask(&peer, "{open,\"f\",0,0,%s}", options));
}

static int setup(void **state)
{
    (void)state;
    host_init(&host);
    host_open(&host);
    peer_open(&peer, &host, "client@localhost");
    f = open_file("[create,write]");
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    peer_close(&peer);
    host_close(&host);
    return 0;
}

static void open_store(void)
{
    is(ask(&peer, "{init_block_storage,%" PRIu64 ",4}", f), "ok");
}

static void overwrite(uint64_t pos, const char *bytes, size_t len)
{
    const int fd = open(folder_file(host.dir, "f"), O_WRONLY | O_CLOEXEC);
    must(fd >= 0 && pwrite(fd, bytes, len, (off_t)pos) == (ssize_t)len);
    close(fd);
}

static void blocks_are_stored_read_and_freed(void **state)
{
    (void)state;
    open_store();
    is(ask(&peer, "{store_block,%" PRIu64 ",\"abcd\"}", f), "{ok,0}");
    is(ask(&peer, "{store_block,%" PRIu64 ",[\"ef\",\"gh\"]}", f), "{ok,1}");
    is(ask(&peer, "{read_block,%" PRIu64 ",0}", f), "{ok,<<\"abcd\">>}");
    is(ask(&peer, "{read_block,%" PRIu64 ",2}", f), "eof");
    is(ask(&peer, "{read_block,%" PRIu64 ",1000000000000}", f), "eof");
    is(ask(&peer, "{free_block,%" PRIu64 ",0}", f), "{ok,true}");
    is(ask(&peer, "{free_block,%" PRIu64 ",0}", f), "{ok,false}");
    is(ask(&peer, "{free_block,%" PRIu64 ",1000000000000}", f), "{ok,false}");
    is(ask(&peer, "{store_blocks,%" PRIu64 ",[\"ijkl\",\"mnop\"]}", f), "{ok,[0,2]}");
    is(ask(&peer, "{read_blocks,%" PRIu64 ",[2,7,1]}", f), "{ok,[<<\"mnop\">>,eof,<<\"efgh\">>]}");
    is(ask(&peer, "{free_blocks,%" PRIu64 ",[1,1,5]}", f), "{ok,[true,false,false]}");
    is(ask(&peer, "{read_blocks,%" PRIu64 ",0,10}", f),
       "{ok,[{0,<<\"ijkl\">>},{2,<<\"mnop\">>}],eof}");
    is(ask(&peer, "{read_blocks,%" PRIu64 ",0,1}", f), "{ok,[{0,<<\"ijkl\">>}],1}");
    is(ask(&peer, "{read_blocks,%" PRIu64 ",1,1}", f), "{ok,[{2,<<\"mnop\">>}],3}");
    is(ask(&peer, "{store_blocks,%" PRIu64 ",[]}", f), "{ok,[]}");
    is(ask(&peer, "{read_blocks,%" PRIu64 ",[]}", f), "{ok,[]}");
    assert_non_null(strstr(ask(&peer, "{info,%" PRIu64 "}", f), "kind=>blocks"));
}

static void wrong_requests_change_nothing(void **state)
{
    (void)state;
    static const char *const before[] = {"{store_block,%" PRIu64 ",\"abcd\"}",
                                         "{read_block,%" PRIu64 ",0}", "{free_block,%" PRIu64 ",0}",
                                         "{read_blocks,%" PRIu64 ",0,1}",
                                         "{repair_block_storage,%" PRIu64 ",[]}"};
    static const char *const wrong[] = {
        "{store_block,%" PRIu64 ",\"abc\"}",      "{store_block,%" PRIu64 ",\"abcde\"}",
        "{store_block,%" PRIu64 ",abcd}",         "{store_blocks,%" PRIu64 ",[\"abcd\",\"abc\"]}",
        "{store_blocks,%" PRIu64 ",\"abcd\"}",    "{read_block,%" PRIu64 ",-1}",
        "{read_blocks,%" PRIu64 ",[0,a]}",        "{free_blocks,%" PRIu64 ",[0,a]}",
        "{init_block_storage,%" PRIu64 ",0}",     "{init_block_storage,%" PRIu64 ",16777217}",
        "{repair_block_storage,%" PRIu64 ",[x]}", "{repair_block_storage,%" PRIu64 ",[{from,a}]}"};
    char request[200];
    for (size_t i = 0; i < sizeof before / sizeof before[0]; i++) {
        snprintf(request, sizeof request, before[i], f); /* NOLINT: of the table */
        is(ask(&peer, "%s", request), "{error,{not_a,blocks}}");
    }
    open_store();
    is(ask(&peer, "{store_block,%" PRIu64 ",\"abcd\"}", f), "{ok,0}");
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        snprintf(request, sizeof request, wrong[i], f); /* NOLINT: of the table */
        is(ask(&peer, "%s", request), "{error,badarg}");
    }
    is(ask(&peer, "{init_block_storage,%" PRIu64 ",8}", f), "{error,{block_size,4}}");
    is(ask(&peer, "{read_blocks,%" PRIu64 ",0,10}", f), "{ok,[{0,<<\"abcd\">>}],eof}");
}

/* It can still be read as the region as which it was opened. */
static void a_store_is_changed_by_its_own_requests_only(void **state)
{
    (void)state;
    static const char *const refused[] = {
        "{pwrite,%" PRIu64 ",5000,\"x\"}", "{patomic_add,%" PRIu64 ",4096,1}",
        "{resize,%" PRIu64 ",0}", "{truncate,%" PRIu64 ",0}", "{allocate,%" PRIu64 ",0,1000000}"};
    char request[200];
    open_store();
    is(ask(&peer, "{store_block,%" PRIu64 ",\"abcd\"}", f), "{ok,0}");
    for (size_t i = 0; i < sizeof refused / sizeof refused[0]; i++) {
        snprintf(request, sizeof request, refused[i], f); /* NOLINT: of the table */
        is(ask(&peer, "%s", request), "{error,{wrong_kind,blocks}}");
    }
    is(ask(&peer, "{pread,%" PRIu64 ",0,7}", f), "{ok,<<\"EMMAPB1\">>}");
    is(ask(&peer, "{sync,%" PRIu64 "}", f), "ok");
    is(ask(&peer, "{inc_counter,%" PRIu64 ",0}", f), "{error,{wrong_kind,blocks}}");
    is(ask(&peer, "{open_queue,\"f\",0,[]}"), "{error,{wrong_kind,blocks}}");
}

static void a_store_is_found_again(void **state)
{
    (void)state;
    open_store();
    is(ask(&peer, "{store_block,%" PRIu64 ",\"abcd\"}", f), "{ok,0}");
    is(ask(&peer, "{close,%" PRIu64 "}", f), "ok");
    is(ask(&peer, "{read_block,\"f\",0}"), "{ok,<<\"abcd\">>}"); /* by its name */
    f = open_file("[]");
    is(ask(&peer, "{read_block,%" PRIu64 ",0}", f), "{ok,<<\"abcd\">>}");
    is(ask(&peer, "{store_block,%" PRIu64 ",\"efgh\"}", f), "{error,eacces}");
    f = open_file("[write]");
    is(ask(&peer, "{store_block,%" PRIu64 ",\"efgh\"}", f), "{ok,1}");
    /* anew: truncated by somebody who opens it so */
    f = opened(ask(&peer, "{open,\"f\",0,0,[write,truncate,{size,100000}]}"));
    is(ask(&peer, "{read_block,%" PRIu64 ",0}", f), "{error,{not_a,blocks}}");
    open_store();
    is(ask(&peer, "{read_block,%" PRIu64 ",0}", f), "eof");
}

static void a_file_of_something_else_stays(void **state)
{
    (void)state;
    is(ask(&peer, "{resize,%" PRIu64 ",10000}", f), "{ok,10000}");
    is(ask(&peer, "{pwrite,%" PRIu64 ",9999,\"x\"}", f), "ok");
    is(ask(&peer, "{init_block_storage,%" PRIu64 ",4}", f), "{error,{not_a,blocks}}");
    is(ask(&peer, "{pread,%" PRIu64 ",9999,1}", f), "{ok,<<\"x\">>}");
    const uint64_t part = opened(ask(&peer, "{open,\"f\",8,10000,[write]}"));
    is(ask(&peer, "{init_block_storage,%" PRIu64 ",4}", part), "{error,{not_a,blocks}}");
}

static void a_store_of_fixed_size_is_full_at_its_end(void **state)
{
    (void)state;
    const uint64_t g =
        opened(ask(&peer, "{open,\"g\",0,%d,[create,write,fixed_size]}", 2 * BLOCK_PAGE + 3 * 16));
    is(ask(&peer, "{init_block_storage,%" PRIu64 ",4}", g), "ok");
    is(ask(&peer, "{store_blocks,%" PRIu64 ",[\"abcd\",\"abcd\"]}", g), "{ok,[0,1]}");
    is(ask(&peer, "{store_blocks,%" PRIu64 ",[\"abcd\",\"abcd\"]}", g), "{error,full}");
    is(ask(&peer, "{store_block,%" PRIu64 ",\"abcd\"}", g), "{ok,2}");
    is(ask(&peer, "{store_block,%" PRIu64 ",\"abcd\"}", g), "{error,full}");
    is(ask(&peer, "{free_block,%" PRIu64 ",1}", g), "{ok,true}");
    is(ask(&peer, "{store_block,%" PRIu64 ",\"efgh\"}", g), "{ok,1}");
}

static void what_is_harmed_is_told(void **state)
{
    (void)state;
    enum { SLOT = 16 };
    open_store();
    is(ask(&peer, "{store_blocks,%" PRIu64 ",[\"abcd\",\"efgh\",\"ijkl\"]}", f), "{ok,[0,1,2]}");
    overwrite(2 * BLOCK_PAGE + SLOT + 8, "X", 1);
    is(ask(&peer, "{read_block,%" PRIu64 ",1}", f), "{error,{corrupt,1}}");
    is(ask(&peer, "{read_blocks,%" PRIu64 ",[0,1]}", f), "{error,{corrupt,1}}");
    is(ask(&peer, "{read_blocks,%" PRIu64 ",0,10}", f),
       "{ok,[{0,<<\"abcd\">>},{2,<<\"ijkl\">>}],eof}");
    is(ask(&peer, "{repair_block_storage,%" PRIu64 ",[dry_run]}", f),
       "{ok,#{blocks=>2,lost=>[1],freed=>0,next=>eof}}");
    is(ask(&peer, "{repair_block_storage,%" PRIu64 ",[{from,0},{count,1}]}", f),
       "{ok,#{blocks=>1,lost=>[],freed=>0,next=>1}}");
    is(ask(&peer, "{repair_block_storage,%" PRIu64 ",[{from,1}]}", f),
       "{ok,#{blocks=>1,lost=>[1],freed=>1,next=>eof}}");
    is(ask(&peer, "{read_block,%" PRIu64 ",1}", f), "eof");
    is(ask(&peer, "{close,%" PRIu64 "}", f), "ok");
    overwrite(12, "X", 1);
    f = open_file("[write]");
    is(ask(&peer, "{read_block,%" PRIu64 ",0}", f),
       "{error,{damaged,<<\"header: its hash does not fit\">>}}");
    is(ask(&peer, "{init_block_storage,%" PRIu64 ",4}", f),
       "{error,{damaged,<<\"header: its hash does not fit\">>}}");
}

static void a_durable_store_outlives_its_daemon(void **state)
{
    (void)state;
    f = open_file("[write,sync]");
    open_store();
    is(ask(&peer, "{store_block,%" PRIu64 ",\"abcd\"}", f), "{ok,0}");
    is(ask(&peer, "{batch,[{store_block,%" PRIu64 ",\"efgh\"},{free_block,%" PRIu64 ",0},sync]}", f,
           f),
       "{ok,[{ok,1},{ok,true},ok]}");
    assert_non_null(strstr(ask(&peer, "{info,%" PRIu64 "}", f), "durability=>sync"));
    peer_close(&peer);
    host_stop(&host);
    host_open(&host);
    peer_open(&peer, &host, "client@localhost");
    f = open_file("[write,sync]");
    is(ask(&peer, "{read_blocks,%" PRIu64 ",[0,1]}", f), "{ok,[eof,<<\"efgh\">>]}");
}

static struct os real;
static sem_t at_growth;
static sem_t go_on;

static int allocate_waits(int fd, off_t offset, off_t len)
{
    sem_post(&at_growth);
    while (sem_wait(&go_on) != 0)
        ;
    return real.allocate(fd, offset, len);
}

/* A disk that takes its time. */
static void a_store_that_grows_holds_up_nobody_else(void **state)
{
    (void)state;
    open_store();
    opened(ask(&peer, "{open_counters,\"c\",1}"));
    sem_init(&at_growth, 0, 0);
    sem_init(&go_on, 0, 0);
    real = os;
    os.allocate = allocate_waits;
    call(&peer, make_term("{store_block,%" PRIu64 ",\"abcd\"}", f));
    call(&peer, make_term("{read_block,%" PRIu64 ",0}", f));
    while (sem_trywait(&at_growth) != 0)
        assert_false(anything(&peer));
    is(ask(&peer, "{inc_counter,\"c\",0}"), "{ok,0}");
    is(ask(&peer, "{read_counter,\"c\",0}"), "{ok,1}");
    assert_false(anything(&peer));
    os = real;
    sem_post(&go_on);
    is(heard(&peer), "{ok,0}");
    is(heard(&peer), "{ok,<<\"abcd\">>}");
    sem_destroy(&at_growth);
    sem_destroy(&go_on);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(blocks_are_stored_read_and_freed),
        TEST(wrong_requests_change_nothing),
        TEST(a_store_is_changed_by_its_own_requests_only),
        TEST(a_store_is_found_again),
        TEST(a_file_of_something_else_stays),
        TEST(a_store_of_fixed_size_is_full_at_its_end),
        TEST(what_is_harmed_is_told),
        TEST(a_durable_store_outlives_its_daemon),
        TEST(a_store_that_grows_holds_up_nobody_else),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
