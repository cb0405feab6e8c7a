/* The engine as a peer sees it: requests in, replies out. */
#include <fcntl.h>
#include <inttypes.h>
#include <sys/stat.h>
#include <unistd.h>

#include "proto/entry.h"
#include "proto/reply.h"
#include "support/check.h"
#include "support/faults.h"
#include "support/folder.h"
#include "support/peer.h"
#include "sys/guard.h"
#include "sys/os.h"

static struct host host;
static struct peer peer;

static int setup(void **state)
{
    (void)state;
    host_init(&host);
    host_open(&host);
    peer_open(&peer, &host, "client@localhost");
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    peer_close(&peer);
    host_close(&host);
    return 0;
}

static uint64_t open_new(const char *name, unsigned size)
{
    return opened(ask(&peer, "{open,\"%s\",0,%u,[create,write]}", name, size));
}

static uint64_t open_counters(const char *name, unsigned n)
{
    return opened(ask(&peer, "{open_counters,\"%s\",%u}", name, n));
}

static void file_size_is(const char *name, off_t size)
{
    struct stat st;
    assert_int_equal(stat(folder_file(host.dir, name), &st), 0);
    assert_int_equal(st.st_size, size);
}

static void bytes_written_are_read(void **state)
{
    (void)state;
    uint64_t f = open_new("f", 4096);
    is(ask(&peer, "{pwrite,%" PRIu64 ",10,\"hello\"}", f), "ok");
    is(ask(&peer, "{pread,%" PRIu64 ",10,5}", f), "{ok,<<\"hello\">>}");
    is(ask(&peer, "{pread,%" PRIu64 ",4096,1}", f), "eof");
    is(ask(&peer, "{pwrite,%" PRIu64 ",4092,\"hello\"}", f), "{error,badarg}");
    is(ask(&peer, "{pread,%" PRIu64 ",-1,5}", f), "{error,badarg}");
    is(ask(&peer, "{pread,%" PRIu64 ",[{10,2},{5000,1},{12,3}]}", f),
       "{ok,[<<\"he\">>,eof,<<\"llo\">>]}");
    is(ask(&peer, "{pwrite,%" PRIu64 ",[{0,\"ab\"},{9000,\"c\"},{2,\"d\"}]}", f),
       "{error,{1,badarg}}");
    is(ask(&peer, "{pread,%" PRIu64 ",0,3}", f), "{ok,<<\"ab.\">>}");
}

static void an_iolist_is_flattened(void **state)
{
    (void)state;
    uint64_t f = open_new("f", 64);
    is(ask(&peer, "{pwrite,%" PRIu64 ",0,[97,\"bc\",[100,\"e\"]]}", f), "ok");
    is(ask(&peer, "{pread,%" PRIu64 ",0,5}", f), "{ok,<<\"abcde\">>}");
    is(ask(&peer, "{pwrite,%" PRIu64 ",0,[97,foo]}", f), "{error,badarg}");
    is(ask(&peer, "{pwrite,%" PRIu64 ",0,[300]}", f), "{error,badarg}");
}

static void lines_are_read(void **state)
{
    (void)state;
    uint64_t f = open_new("f", 8);
    is(ask(&peer, "{pwrite,%" PRIu64 ",0,[97,98,10,99,100,10,101,102]}", f), "ok");
    is(ask(&peer, "{read_line,%" PRIu64 ",0}", f), "{ok,<<\"ab\n\">>,3}");
    is(ask(&peer, "{read_line,%" PRIu64 ",3}", f), "{ok,<<\"cd\n\">>,6}");
    is(ask(&peer, "{read_line,%" PRIu64 ",6}", f), "{ok,<<\"ef\">>,8}");
    is(ask(&peer, "{read_line,%" PRIu64 ",8}", f), "eof");
}

static void integers_are_atomic_words(void **state)
{
    (void)state;
    uint64_t f = open_new("f", 64);
    is(ask(&peer, "{patomic_add,%" PRIu64 ",8,10}", f), "{ok,0}");
    is(ask(&peer, "{patomic_sub,%" PRIu64 ",8,3}", f), "{ok,10}");
    is(ask(&peer, "{patomic_xchg,%" PRIu64 ",8,12}", f), "{ok,7}");
    is(ask(&peer, "{patomic_and,%" PRIu64 ",8,10}", f), "{ok,12}");
    is(ask(&peer, "{patomic_or,%" PRIu64 ",8,1}", f), "{ok,8}");
    is(ask(&peer, "{patomic_xor,%" PRIu64 ",8,3}", f), "{ok,9}");
    is(ask(&peer, "{patomic_cas,%" PRIu64 ",8,10,-5}", f), "{true,10}");
    is(ask(&peer, "{patomic_cas,%" PRIu64 ",8,10,0}", f), "{false,-5}");
    is(ask(&peer, "{patomic_write_integer,%" PRIu64 ",16,7}", f), "ok");
    is(ask(&peer, "{patomic_read_integer,%" PRIu64 ",16}", f), "{ok,7}");
    is(ask(&peer, "{patomic_add,%" PRIu64 ",4,1}", f), "{error,alignment}");
    is(ask(&peer, "{patomic_add,%" PRIu64 ",64,1}", f), "{error,badarg}");
}

static void the_region_begins_at_its_offset(void **state)
{
    (void)state;
    uint64_t whole = open_new("f", 64);
    uint64_t part = opened(ask(&peer, "{open,\"f\",4,64,[write]}"));
    is(ask(&peer, "{pwrite,%" PRIu64 ",0,\"xy\"}", part), "ok");
    is(ask(&peer, "{pread,%" PRIu64 ",4,2}", whole), "{ok,<<\"xy\">>}");
    is(ask(&peer, "{pread,%" PRIu64 ",60,1}", part), "eof");
    is(ask(&peer, "{patomic_add,%" PRIu64 ",4,1}", part), "{ok,0}");
    is(ask(&peer, "{patomic_read_integer,%" PRIu64 ",8}", whole), "{ok,1}");
    is(ask(&peer, "{open,\"f\",65,0,[write]}"), "{error,badarg}");
}

static void sizes_are_kept_unless_asked_otherwise(void **state)
{
    (void)state;
    uint64_t f = open_new("f", 4096);
    is(ask(&peer, "{open,\"f\",0,100,[write]}"), "{error,{size_mismatch,4096,100}}");
    opened(ask(&peer, "{open,\"f\",0,100,[write,fit]}"));
    file_size_is("f", 4096);
    opened(ask(&peer, "{open,\"f\",0,8192,[write,fit]}"));
    file_size_is("f", 8192);
    is(ask(&peer, "{resize,%" PRIu64 ",0}", f), "{ok,16384}");
    is(ask(&peer, "{resize,%" PRIu64 ",100}", f), "{ok,100}");
    file_size_is("f", 100);
    is(ask(&peer, "{pread,%" PRIu64 ",100,1}", f), "eof");
    is(ask(&peer, "{allocate,%" PRIu64 ",100,50}", f), "ok");
    file_size_is("f", 150);
    is(ask(&peer, "{truncate,%" PRIu64 ",0}", f), "ok");
    file_size_is("f", 0);
    is(ask(&peer, "{resize,%" PRIu64 ",0}", f), "{ok,4096}");
    uint64_t fixed = opened(ask(&peer, "{open,\"f\",0,0,[write,fixed_size]}"));
    is(ask(&peer, "{resize,%" PRIu64 ",0}", fixed), "{error,fixed_size}");
}

static void all_handles_share_one_mapping(void **state)
{
    (void)state;
    uint64_t a = open_new("f", 64);
    assert_int_equal(link(folder_file(host.dir, "f"), folder_file(host.dir, "g")), 0);
    uint64_t b = opened(ask(&peer, "{open,\"g\",0,0,[read]}"));
    is(ask(&peer, "{pwrite,%" PRIu64 ",0,\"one\"}", a), "ok");
    is(ask(&peer, "{pread,%" PRIu64 ",0,3}", b), "{ok,<<\"one\">>}");
    is(ask(&peer, "{pwrite,%" PRIu64 ",0,\"x\"}", b), "{error,eacces}");
    is(ask(&peer, "{resize,%" PRIu64 ",100000}", a), "{ok,100000}");
    is(ask(&peer, "{pread,%" PRIu64 ",99999,5}", b), "{ok,<<\".\">>}");
    is(ask(&peer, "{close,%" PRIu64 "}", a), "ok");
    is(ask(&peer, "{pread,%" PRIu64 ",0,3}", a), "{error,closed}");
    is(ask(&peer, "{pread,\"f\",0,3}"), "{ok,<<\"one\">>}");
    is(ask(&peer, "{close,%" PRIu64 "}", b), "ok");
    is(ask(&peer, "{close,%" PRIu64 "}", b), "ok");
    is(ask(&peer, "{pread,\"f\",0,3}"), "{error,not_open}");
}

static void a_private_copy_stays_private(void **state)
{
    (void)state;
    uint64_t f = open_new("f", 8);
    uint64_t mine = opened(ask(&peer, "{open,\"f\",0,0,[write,private]}"));
    is(ask(&peer, "{pwrite,%" PRIu64 ",0,\"mine\"}", mine), "ok");
    is(ask(&peer, "{pread,%" PRIu64 ",0,1}", f), "{ok,<<\".\">>}");
    is(ask(&peer, "{resize,%" PRIu64 ",10000}", mine), "{ok,10000}");
    is(ask(&peer, "{pwrite,%" PRIu64 ",9999,\"!\"}", mine), "ok");
    is(ask(&peer, "{pread,%" PRIu64 ",0,4}", mine), "{ok,<<\"mine\">>}");
    file_size_is("f", 8);
    uint64_t memory = opened(ask(&peer, "{open,\"\",0,16,[write,anon]}"));
    is(ask(&peer, "{pwrite,%" PRIu64 ",0,\"memory\"}", memory), "ok");
    is(ask(&peer, "{pread,%" PRIu64 ",0,6}", memory), "{ok,<<\"memory\">>}");
}

static void truncate_begins_anew(void **state)
{
    (void)state;
    uint64_t f = open_new("f", 8);
    is(ask(&peer, "{pwrite,%" PRIu64 ",0,\"old\"}", f), "ok");
    opened(ask(&peer, "{open,\"f\",0,16,[write,truncate]}"));
    file_size_is("f", 16);
    is(ask(&peer, "{pread,%" PRIu64 ",0,1}", f), "{ok,<<\".\">>}");
    is(ask(&peer, "{open,\"f\",0,16,[truncate]}"), "{error,{bad_option,truncate}}");
    is(ask(&peer, "{open,\"new\",0,16,[create]}"), "{error,{bad_option,create}}");
}

static void a_full_disk_keeps_the_old_bytes_from_truncation(void **state)
{
    (void)state;
    const struct os calls = os;
    uint64_t f = open_new("f", 8);
    is(ask(&peer, "{pwrite,%" PRIu64 ",0,\"old\"}", f), "ok");
    os.allocate = no_space;
    is(ask(&peer, "{open,\"f\",0,16,[write,truncate]}"), "{error,enospc}");
    is(ask(&peer, "{resize,%" PRIu64 ",16}", f), "{error,enospc}");
    is(ask(&peer, "{open,\"new\",0,16,[write,create]}"), "{error,enospc}");
    os = calls;
    is(ask(&peer, "{pread,%" PRIu64 ",0,9}", f), "{ok,<<\"old.....\">>}");
    file_size_is("f", 8);
    assert_int_equal(access(folder_file(host.dir, "new"), F_OK), -1);
}

static void wrong_openings_change_nothing(void **state)
{
    (void)state;
    is(ask(&peer, "{open,\"none\",0,8,[write]}"), "{error,enoent}");
    is(ask(&peer, "{open,\"f\",0,8,[write,{size,-1}]}"), "{error,{bad_option,{size,-1}}}");
    is(ask(&peer, "{open,\"f\",0,8,[{chmod,2541}]}"), "{error,{bad_option,{chmod,2541}}}");
    is(ask(&peer, "{open,\"f\",0,8,[fixed]}"), "{error,{bad_option,fixed}}");
    is(ask(&peer, "{open,\"f\",0,8,[{address,1}]}"), "{error,{bad_option,{address,1}}}");
    is(ask(&peer, "{open,\"f\",0,8,[{durability,never}]}"),
       "{error,{bad_option,{durability,never}}}");
    is(ask(&peer, "{open,\"f\",0,8,[private,{durability,sync}]}"),
       "{error,{bad_option,durability}}");
    is(ask(&peer, "{open,\"/etc/passwd\",0,0,[read]}"), "{error,eacces}");
    is(ask(&peer, "{open,\"../x\",0,8,[create,write]}"), "{error,eacces}");
    is(ask(&peer, "{open,\"no/dir\",0,8,[create,write]}"), "{error,enoent}");
    is(ask(&peer, "{open,\"..\",0,0,[read]}"), "{error,eacces}");
    is(ask(&peer, "{open,\".\",0,0,[read]}"), "{error,eacces}");
    is(ask(&peer, "{open,foo,0,8,[]}"), "{error,badarg}");
    is(ask(&peer, "{open,\"f\",0,8,foo}"), "{error,badarg}");
    assert_int_equal(mkdir(folder_file(host.dir, "d"), 0700), 0);
    is(ask(&peer, "{open,\"d\",0,0,[read]}"), "{error,{not_a,regular_file}}");
    assert_int_equal(mkfifo(folder_file(host.dir, "fifo"), 0700), 0);
    is(ask(&peer, "{open,\"fifo\",0,0,[read]}"), "{error,{not_a,regular_file}}");
    assert_int_equal(symlink("/etc/passwd", folder_file(host.dir, "out")), 0);
    is(ask(&peer, "{open,\"out\",0,0,[read]}"), "{error,eacces}");
}

static void counters_count(void **state)
{
    (void)state;
    uint64_t c = open_counters("hits", 4);
    is(ask(&peer, "{inc_counter,%" PRIu64 ",0}", c), "{ok,0}");
    is(ask(&peer, "{inc_counter,%" PRIu64 ",0,9}", c), "{ok,1}");
    is(ask(&peer, "{dec_counter,%" PRIu64 ",0}", c), "{ok,10}");
    is(ask(&peer, "{dec_counter,%" PRIu64 ",0,4}", c), "{ok,9}");
    is(ask(&peer, "{set_counter,%" PRIu64 ",1,-7}", c), "{ok,0}");
    is(ask(&peer, "{read_counter,%" PRIu64 ",1}", c), "{ok,-7}");
    is(ask(&peer, "{update_counters,%" PRIu64 ",[{0,1},{3,5}]}", c), "{ok,[5,0]}");
    is(ask(&peer, "{update_counters,%" PRIu64 ",[{0,1},{4,5}]}", c), "{error,badarg}");
    is(ask(&peer, "{read_counters,%" PRIu64 "}", c), "{ok,[6,-7,0,5]}");
    is(ask(&peer, "{read_counters,%" PRIu64 ",[3,0]}", c), "{ok,[5,6]}");
    is(ask(&peer, "{read_counters,%" PRIu64 ",[4]}", c), "{error,badarg}");
    is(ask(&peer, "{read_counters,%" PRIu64 ",[]}", c), "{ok,[]}");
    is(ask(&peer, "{inc_counter,%" PRIu64 ",4}", c), "{error,badarg}");
    is(ask(&peer, "{pread,%" PRIu64 ",0,8}", c), "{error,{wrong_kind,counters}}");
    file_size_is("hits", 16 + 4 * 8);
}

static void counters_grow_and_keep_their_values(void **state)
{
    (void)state;
    uint64_t few = open_counters("hits", 2);
    is(ask(&peer, "{set_counter,%" PRIu64 ",1,5}", few), "{ok,0}");
    uint64_t more = open_counters("hits", 1000);
    is(ask(&peer, "{read_counter,%" PRIu64 ",1}", more), "{ok,5}");
    is(ask(&peer, "{inc_counter,%" PRIu64 ",999}", few), "{ok,0}");
    const char *reply = ask(&peer, "{open_counters,\"hits\",0}");
    assert_non_null(strstr(reply, "count=>1000"));
    is(ask(&peer, "{open_counters,\"none\",0}"), "{error,enoent}");
}

static void counters_open_by_their_name(void **state)
{
    (void)state;
    uint64_t c = open_counters("hits", 2);
    is(ask(&peer, "{inc_counter,%" PRIu64 ",1,3}", c), "{ok,0}");
    is(ask(&peer, "{close,%" PRIu64 "}", c), "ok");
    is(ask(&peer, "{inc_counter,\"hits\",1}"), "{ok,3}");
    is(ask(&peer, "{read_counters,\"hits\"}"), "{ok,[0,4]}");
    is(ask(&peer, "{read_counters,\"none\"}"), "{error,enoent}");
    uint64_t f = open_new("plain", 64);
    is(ask(&peer, "{read_counters,\"plain\"}"), "{error,{wrong_kind,region}}");
    is(ask(&peer, "{close,%" PRIu64 "}", f), "ok");
    is(ask(&peer, "{read_counters,\"plain\"}"), "{error,not_open}");
    is(ask(&peer, "{pwrite,\"plain\",0,\"x\"}"), "{error,not_open}");
}

static void counters_open_by_a_second_name(void **state)
{
    (void)state;
    uint64_t c = open_counters("hits", 2);
    assert_int_equal(link(folder_file(host.dir, "hits"), folder_file(host.dir, "g")), 0);
    assert_int_equal(link(folder_file(host.dir, "hits"), folder_file(host.dir, "h")), 0);
    is(ask(&peer, "{inc_counter,\"g\",0}"), "{ok,0}");
    is(ask(&peer, "{sync,\"h\"}"), "ok");
    is(ask(&peer, "{read_counter,%" PRIu64 ",0}", c), "{ok,1}");
}

/* A file as the NIF library writes it. */
static void a_file_of_version_1_is_read(void **state)
{
    (void)state;
    uint8_t bytes[64];
    FILE *from = fopen(TEST_DATA "/counters-1", "rb");
    FILE *to = fopen(folder_file(host.dir, "c"), "wb");
    assert_non_null(from);
    assert_non_null(to);
    const size_t n = fread(bytes, 1, sizeof bytes, from);
    assert_int_equal(n, 40);
    assert_int_equal(fwrite(bytes, 1, n, to), n);
    fclose(from);
    fclose(to);
    uint64_t c = open_counters("c", 0);
    is(ask(&peer, "{read_counters,%" PRIu64 "}", c), "{ok,[1,-2,1099511627776]}");
}

static void a_foreign_file_of_counters_is_refused(void **state)
{
    (void)state;
    uint64_t f = open_new("plain", 64);
    is(ask(&peer, "{pwrite,%" PRIu64 ",0,\"NOTEMMAP\"}", f), "ok");
    is(ask(&peer, "{open_counters,\"plain\",2}"), "{error,{invalid_file_header,<<\"NOTEMMAP\">>}}");
    is(ask(&peer, "{pread,%" PRIu64 ",0,8}", f), "{ok,<<\"NOTEMMAP\">>}");
    is(ask(&peer, "{pwrite,%" PRIu64 ",0,[\"EMMAP01\",10,7,0,0,0,0,0,0,0]}", f), "ok");
    is(ask(&peer, "{open_counters,\"plain\",2}"),
       "{error,{invalid_file_header,<<\"EMMAP01\n\">>}}");
}

static void requests_wait_in_line_while_a_worker_has_the_object(void **state)
{
    (void)state;
    uint64_t f = open_new("f", 64);
    uint64_t g = open_new("g", 64);
    is(ask(&peer, "{pread,%" PRIu64 ",0,1}", g), "{ok,<<\".\">>}"); /* now it is in memory */
    call(&peer, make_term("{sync,%" PRIu64 "}", f));
    call(&peer, make_term("{pwrite,%" PRIu64 ",0,\"a\"}", f));
    call(&peer, make_term("{pread,%" PRIu64 ",0,1}", f));
    is(ask(&peer, "{pread,%" PRIu64 ",0,1}", g), "{ok,<<\".\">>}"); /* the other goes on */
    static const char *const expected[] = {"ok", "ok", "{ok,<<\"a\">>}"};
    for (int i = 0; i < 3; i++) {
        is(heard(&peer), expected[i]);
    }
}

static void what_waits_is_taken_back(void **state)
{
    (void)state;
    uint64_t f = open_new("f", 64);
    call(&peer, make_term("{sync,%" PRIu64 "}", f));
    const uint64_t ref = peer.next_ref;
    call(&peer, make_term("{pwrite,%" PRIu64 ",0,\"a\"}", f));
    client_demonitor(peer.client, peer_ref(ref));
    free(hear(&peer));
    is(ask(&peer, "{pread,%" PRIu64 ",0,1}", f), "{ok,<<\".\">>}");
    assert_false(anything(&peer));
}

static void a_line_is_bounded(void **state)
{
    (void)state;
    uint64_t f = open_new("f", 64);
    for (int i = 0; i < 102; i++)
        call(&peer, make_term("{sync,%" PRIu64 "}", f));
    int refused = 0;
    for (int i = 0; i < 102; i++) {
        refused += strcmp(heard(&peer), "{error,{limit,max_pending}}") == 0;
    }
    assert_int_equal(refused, 2);
}

static unsigned entries(void)
{
    const struct entry *e;
    unsigned n;
    DL_COUNT(host.server->entries, e, n);
    return n;
}

static void a_name_that_may_not_wait_is_forgotten(void **state)
{
    (void)state;
    uint64_t f = open_new("f", 64);
    for (int i = 0; i < 100; i++)
        call(&peer, make_term("{sync,%" PRIu64 "}", f));
    is(ask(&peer, "{read_counters,\"none\"}"), "{error,{limit,max_pending}}");
    is(ask(&peer, "{open,\"new\",0,8,[create,write]}"), "{error,{limit,max_pending}}");
    assert_int_equal(entries(), 1);
    for (int i = 0; i < 100; i++)
        is(heard(&peer), "ok");
}

static void a_batch_answers_in_order(void **state)
{
    (void)state;
    uint64_t c = open_counters("hits", 2);
    uint64_t f = open_new("f", 8);
    is(ask(&peer,
           "{batch,[{inc_counter,%" PRIu64 ",0},{pwrite,%" PRIu64 ",0,\"x\"},{sync,%" PRIu64
           "},{foo,1},{pread,%" PRIu64 ",0,1},{inc_counter,%" PRIu64 ",0},sync]}",
           c, f, f, f, c),
       "{ok,[{ok,0},ok,ok,{error,{unknown_request,foo}},{ok,<<\"x\">>},{ok,1},ok]}");
    is(ask(&peer, "{batch,[]}"), "{ok,[]}");
    is(ask(&peer, "{batch,[{batch,[]}]}"), "{ok,[{error,badarg}]}");
    is(ask(&peer, "{batch,[sync]}"), "{ok,[ok]}");
    const char *reply = ask(&peer, "{batch,[{open_counters,\"other\",1},ping]}");
    assert_non_null(strstr(reply, "count=>1}},pong]}"));
}

static const char *told(void)
{
    struct message *m = hear(&peer);
    const char *text = show_term(span_of(m->bytes, m->len));
    free(m);
    return text;
}

static void an_envelope_is_answered_to_the_lane(void **state)
{
    (void)state;
    uint64_t c = open_counters("hits", 2);
    const struct enveloped requests[] = {{make_term("{inc_counter,%" PRIu64 ",0}", c), 100},
                                         {make_term("{inc_counter,%" PRIu64 ",0,5}", c), 0},
                                         {make_term("{sync,%" PRIu64 "}", c), 102},
                                         {make_term("{read_counter,%" PRIu64 ",0}", c), 103},
                                         {make_term("ping"), 104}};
    tell_envelope(&peer, requests, 5);
    is(told(), "{$emmap,5,[{ok,0},pong],[2,3]}");
    is(told(), "{#Ref,ok}");
    is(told(), "{#Ref,{ok,6}}");
    tell_envelope(&peer, requests, 0);
    is(told(), "{$emmap,5,[],[]}");
}

/* {batch, [ping, ..., ping]}: more than a millisecond of work. */
enum { PINGS = 100000 };

static void put_pings(struct buf *b)
{
    reply_tuple(b, 2);
    reply_atom(b, "batch");
    reply_list(b, PINGS);
    for (int i = 0; i < PINGS; i++)
        reply_atom(b, "ping");
    reply_nil(b);
}

static void a_long_batch_gives_way_to_others(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b, 1 << 20);
    put_pings(&b);
    call(&peer, span_of(b.at, b.len));
    buf_fini(&b);
    assert_true(client_is_behind(peer.client));
    struct message *m = hear(&peer);
    assert_false(client_is_behind(peer.client));
    assert_true(m->len > (size_t)PINGS * 6);
    free(m);
}

/* A batch that has given way is an entry that waits; those behind it are done when it is done. */
static void a_long_envelope_gives_way_to_others(void **state)
{
    (void)state;
    struct buf b;
    const uint64_t c = open_counters("hits", 1);
    buf_init(&b, 1 << 20);
    put_pings(&b);
    const struct enveloped requests[] = {{make_term("{inc_counter,%" PRIu64 ",0}", c), 100},
                                         {span_of(b.at, b.len), 101},
                                         {make_term("{set_counter,%" PRIu64 ",0,7}", c), 0},
                                         {make_term("{read_counter,%" PRIu64 ",0}", c), 103}};
    tell_envelope(&peer, requests, 4);
    buf_fini(&b);
    is(told(), "{$emmap,5,[{ok,0}],[1,3]}");
    client_go_on(peer.client); /* the batch is not done yet */
    assert_true(client_is_behind(peer.client));
    struct message *m = hear(&peer);
    assert_true(m->len > (size_t)PINGS * 6);
    free(m);
    assert_true(client_is_behind(peer.client));
    client_go_on(peer.client);
    assert_false(client_is_behind(peer.client));
    is(told(), "{#Ref,{ok,7}}");
}

static void who_is_behind_may_hang_up(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b, 1 << 20);
    put_pings(&b);
    const struct enveloped requests[] = {{span_of(b.at, b.len), 100}, {make_term("ping"), 101}};
    tell_envelope(&peer, requests, 2);
    buf_fini(&b);
    assert_true(client_is_behind(peer.client));
    peer_close(&peer);
    peer_open(&peer, &host, "client@localhost");
    is(ask(&peer, "ping"), "pong");
}

/* Surveys until it has to pause; nobody else has to, and once it is over it goes on. */
static void who_looks_at_everything_without_end_pauses(void **state)
{
    (void)state;
    struct peer other;
    peer_open(&other, &host, "other@localhost");
    is(ask(&other, "ping"), "pong");
    ask(&peer, "info");
    assert_int_equal(client_pause_ms(peer.client), 0);
    while (client_pause_ms(peer.client) == 0)
        ask(&peer, "info");
    assert_true(client_pause_ms(peer.client) <= 100);
    assert_int_equal(client_pause_ms(other.client), 0);
    const struct enveloped requests[] = {{make_term("ping"), 100}, {make_term("ping"), 101}};
    ask(&peer, "info");
    tell_envelope(&peer, requests, 2);
    is(told(), "{$emmap,5,[],[0,1]}");
    assert_true(client_is_behind(peer.client));
    client_go_on(peer.client);
    assert_true(client_is_behind(peer.client));
    while (client_pause_ms(peer.client) > 0)
        anything(&peer);
    client_go_on(peer.client);
    assert_false(client_is_behind(peer.client));
    is(told(), "{#Ref,pong}");
    is(told(), "{#Ref,pong}");
    peer_close(&other);
}

static void a_barrier_tells_of_casts(void **state)
{
    (void)state;
    uint64_t c = open_counters("hits", 2);
    tell(&peer, make_term("{'$gen_cast',{inc_counter,%" PRIu64 ",0}}", c));
    tell(&peer, make_term("{'$gen_cast',{inc_counter,%" PRIu64 ",7}}", c));
    tell(&peer, make_term("{'$gen_cast',{inc_counter,%" PRIu64 ",foo}}", c));
    tell(&peer, make_term("{'$gen_cast',{pread,%" PRIu64 ",0,1}}", c));
    tell(&peer, make_term("{'$gen_cast',{sync,%" PRIu64 "}}", c));
    is(ask(&peer, "{barrier,%" PRIu64 "}", c), "{ok,5,3,badarg}");
    is(ask(&peer, "{barrier,%" PRIu64 "}", c), "{ok,5,0,none}");
    is(ask(&peer, "{read_counter,%" PRIu64 ",0}", c), "{ok,1}");
}

static void ids_of_others_are_stale(void **state)
{
    (void)state;
    struct peer other;
    uint64_t f = open_new("f", 8);
    peer_open(&other, &host, "other@localhost");
    is(ask(&other, "{pread,%" PRIu64 ",0,1}", f), "{error,stale}");
    is(ask(&other, "{close,%" PRIu64 "}", f), "ok");
    is(ask(&peer, "{pread,%" PRIu64 ",0,1}", f), "{ok,<<\".\">>}");
    is(ask(&peer, "{pread,12345,0,1}"), "{error,stale}");
    is(ask(&peer, "{pread,%" PRIu64 ",0,1}", f + 1), "{error,stale}");
    is(ask(&peer, "{close,12345}"), "ok");
    peer_close(&other);
}

static void a_lost_peer_takes_its_handles_along(void **state)
{
    (void)state;
    struct peer other;
    uint64_t mine = open_new("f", 8);
    peer_open(&other, &host, "other@localhost");
    uint64_t f = opened(ask(&other, "{open,\"f\",0,8,[write,auto_unlink]}"));
    call(&other, make_term("{sync,%" PRIu64 "}", f));
    call(&other, make_term("{pwrite,%" PRIu64 ",0,\"a\"}", f));
    peer_close(&other);
    is(ask(&peer, "{pread,%" PRIu64 ",0,1}", mine), "{ok,<<\"a\">>}"); /* what it sent is done */
    assert_non_null(strstr(ask(&peer, "{info,%" PRIu64 "}", mine), "handles=>1"));
    file_size_is("f", 8);
    is(ask(&peer, "{close,%" PRIu64 "}", mine), "ok");
    assert_int_equal(access(folder_file(host.dir, "f"), F_OK), -1);
    is(ask(&peer, "list"), "[]");
}

static void an_owner_takes_its_handle_along(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b, 4096);
    reply_tuple(&b, 5);
    reply_atom(&b, "open");
    reply_text(&b, "f");
    reply_int64(&b, 0);
    reply_int64(&b, 8);
    reply_list(&b, 3);
    reply_atom(&b, "create");
    reply_atom(&b, "write");
    reply_tuple(&b, 2);
    reply_atom(&b, "owner");
    reply_raw(&b, peer_pid(3));
    reply_nil(&b);
    uint64_t f = opened(ask_term(&peer, span_of(b.at, b.len)));
    uint64_t g = opened(ask_term(&peer, span_of(b.at, b.len)));
    buf_fini(&b);
    assert_int_not_equal(peer.monitored, 0);
    client_down(peer.client, peer.monitored);
    is(ask(&peer, "{pread,%" PRIu64 ",0,1}", g), "{error,closed}");
    is(ask(&peer, "{pread,%" PRIu64 ",0,1}", f), "{ok,<<\".\">>}");
    is(ask(&peer, "{close,%" PRIu64 "}", f), "ok");
    assert_int_equal(peer.demonitored + 1, peer.monitored);
}

static void a_file_cut_by_others_is_an_error_of_that_object_alone(void **state)
{
    (void)state;
    guard_install(); /* cmocka has taken SIGBUS for itself */
    uint64_t f = open_new("f", 16384);
    uint64_t g = open_new("g", 64);
    assert_int_equal(truncate(folder_file(host.dir, "f"), 4096), 0);
    is(ask(&peer, "{pread,%" PRIu64 ",8192,1}", f), "{error,eio}");
    is(ask(&peer, "{pwrite,%" PRIu64 ",8192,\"x\"}", f), "{error,eio}");
    is(ask(&peer, "{patomic_add,%" PRIu64 ",8192,1}", f), "{error,eio}");
    is(ask(&peer, "{pread,%" PRIu64 ",0,1}", f), "{ok,<<\".\">>}");
    is(ask(&peer, "{pwrite,%" PRIu64 ",0,\"x\"}", f), "{error,eio}");
    is(ask(&peer, "{pwrite,%" PRIu64 ",0,\"x\"}", g), "ok");
    uint64_t again = opened(ask(&peer, "{open,\"f\",0,0,[write]}"));
    is(ask(&peer, "{pwrite,%" PRIu64 ",0,\"x\"}", again), "ok");
    is(ask(&peer, "{pwrite,%" PRIu64 ",0,\"y\"}", f), "ok");
    is(ask(&peer, "{pread,%" PRIu64 ",8192,1}", f), "eof");
}

static void a_file_replaced_by_others_is_opened_anew(void **state)
{
    (void)state;
    uint64_t old = open_new("f", 8);
    is(ask(&peer, "{pwrite,%" PRIu64 ",0,\"old\"}", old), "ok");
    opened(ask(&peer, "{open,\"new\",0,8,[create,write]}"));
    assert_int_equal(rename(folder_file(host.dir, "new"), folder_file(host.dir, "f")), 0);
    uint64_t now = opened(ask(&peer, "{open,\"f\",0,8,[write]}"));
    is(ask(&peer, "{pread,%" PRIu64 ",0,1}", now), "{ok,<<\".\">>}");
    is(ask(&peer, "{pread,%" PRIu64 ",0,3}", old), "{ok,<<\"old\">>}");
    is(ask(&peer, "{pwrite,\"f\",0,\"n\"}"), "ok");
    is(ask(&peer, "{pread,%" PRIu64 ",0,1}", now), "{ok,<<\"n\">>}");
}

static void names_without_end_are_not_kept(void **state)
{
    (void)state;
    uint64_t c = open_counters("hits", 1);
    assert_int_equal(mkdir(folder_file(host.dir, "d"), 0700), 0);
    char name[1000] = "hits";
    for (int i = 0; i < 100; i++) {
        is(ask(&peer, "{read_counter,\"%s\",0}", name), "{ok,0}");
        memmove(name + 5, name, strlen(name) + 1);
        memcpy(name, "d/../", 5);
    }
    assert_int_equal(HASH_COUNT(host.server->names), 64);
    is(ask(&peer, "{inc_counter,\"hits\",0}"), "{ok,0}");
    is(ask(&peer, "{read_counter,%" PRIu64 ",0}", c), "{ok,1}");
    is(ask(&peer, "{close,%" PRIu64 "}", c), "ok");
    assert_int_equal(HASH_COUNT(host.server->names), 0);
}

static void unknown_requests_are_named(void **state)
{
    (void)state;
    is(ask(&peer, "{nothing,1}"), "{error,{unknown_request,nothing}}");
    is(ask(&peer, "{pread,1}"), "{error,{unknown_request,pread}}");
    is(ask(&peer, "nothing"), "{error,{unknown_request,nothing}}");
    is(ask(&peer, "[]"), "{error,badarg}");
    is(ask(&peer, "{}"), "{error,badarg}");
    is(ask(&peer, "17"), "{error,badarg}");
    tell(&peer, make_term("{hello,world}"));
    tell(&peer, make_term("{'$gen_call',foo,ping}"));
    tell(&peer, make_term("{'$emmap',1,2,3}"));
    is(ask(&peer, "ping"), "pong");
}

static void a_reply_longer_than_a_frame_is_an_error(void **state)
{
    (void)state;
    uint64_t f = open_new("f", 2 << 20);
    is(ask(&peer, "{pread,%" PRIu64 ",0,2000000}", f), "{error,{limit,max_frame}}");
    is(ask(&peer, "{read_line,%" PRIu64 ",0}", f), "{error,{limit,max_frame}}");
    is(ask(&peer, "{batch,[{pread,%" PRIu64 ",0,900000},{pread,%" PRIu64 ",0,900000}]}", f, f),
       "{error,{limit,max_frame}}");
}

static void replies_may_fill_a_frame_to_its_end(void **state)
{
    (void)state;
    const unsigned most = 1 << 20;
    uint64_t f = open_new("f", 2 * most);
    for (unsigned n = most - 128; n < most; n++) { /* the peer here takes whole terms only */
        call(&peer, make_term("{batch,[{pread,%" PRIu64 ",0,%u}]}", f, n));
        free(hear(&peer));
        call(&peer, make_term("{batch,[{pread,%" PRIu64 ",0,%u},{pread,1,0,1},sync]}", f, n));
        free(hear(&peer));
        call(&peer,
             make_term("{batch,[{pread,%" PRIu64 ",0,%u},{pread,1,0,1},{pread,%" PRIu64 ",0,99}]}",
                       f, n, f));
        free(hear(&peer));
    }
}

static void changes_whose_reply_does_not_fit_are_not_made(void **state)
{
    (void)state;
    enum { CHANGES = 100000 };
    uint64_t c = open_counters("hits", 2);
    is(ask(&peer, "{set_counter,%" PRIu64 ",0,4611686018427387904}", c), "{ok,0}");
    struct buf b;
    buf_init(&b, 1 << 20);
    reply_tuple(&b, 3);
    reply_atom(&b, "update_counters");
    reply_uint64(&b, c);
    reply_list(&b, CHANGES);
    for (int i = 0; i < CHANGES; i++) {
        reply_tuple(&b, 2);
        reply_int64(&b, 0);
        reply_int64(&b, 1);
    }
    reply_nil(&b);
    call(&peer, make_term("{sync,%" PRIu64 "}", c)); /* behind it the reply waits for its frame */
    call(&peer, span_of(b.at, b.len));
    buf_fini(&b);
    is(heard(&peer), "ok");
    is(heard(&peer), "{error,{limit,max_frame}}");
    is(ask(&peer, "{read_counter,%" PRIu64 ",0}", c), "{ok,4611686018427387904}");
}

/* Each holds its first reply while its second item waits: two frames of them may. */
static void batches_that_wait_hold_so_much_together(void **state)
{
    (void)state;
    enum { BATCHES = 10, HELD = 900000, ADMITTED = 2 * (1 << 20) / HELD };
    uint64_t f = open_new("f", 2 << 20);
    for (int i = 0; i < BATCHES; i++)
        call(&peer, make_term("{batch,[{pread,%" PRIu64 ",0,%d},{sync,%" PRIu64 "}]}", f, HELD, f));
    int refused = 0;
    for (int i = 0; i < BATCHES; i++) {
        struct message *m = hear(&peer);
        assert_true(m->len > HELD);
        refused += memmem(m->bytes, m->len, "max_pending", strlen("max_pending")) != NULL;
        free(m);
    }
    assert_int_equal(refused, BATCHES - ADMITTED);
}

static void information_is_a_map(void **state)
{
    (void)state;
    uint64_t c = open_counters("hits", 2);
    is(ask(&peer, "{inc_counter,%" PRIu64 ",0}", c), "{ok,0}");
    is(ask(&peer, "{inc_counter,%" PRIu64 ",9}", c), "{error,badarg}");
    const char *info = ask(&peer, "{info,%" PRIu64 "}", c);
    assert_non_null(strstr(info, "kind=>counters,size=>32,durability=>default,handles=>1"));
    assert_non_null(strstr(info, "ops=>2,errors=>1"));
    assert_non_null(strstr(info, "count=>2}"));
    info = ask(&peer, "info");
    assert_non_null(strstr(info, "node=>emmap@localhost,version=><<\"test\">>,protocol=>1"));
    assert_non_null(strstr(info, "max_pending=>100"));
    assert_non_null(strstr(ask(&peer, "clients"), "node=>client@localhost"));
    assert_non_null(strstr(ask(&peer, "list"), "hits"));
}

static void handles_and_their_clients_are_counted(void **state)
{
    (void)state;
    struct peer other;
    peer_open(&other, &host, "other@localhost");
    uint64_t f = open_new("f", 8);
    opened(ask(&peer, "{open,\"f\",0,8,[]}"));
    opened(ask(&other, "{open,\"f\",0,8,[]}"));
    opened(ask(&other, "{open,\"f\",0,8,[]}"));
    assert_non_null(strstr(ask(&peer, "{info,\"f\"}"), "handles=>4,clients=>2"));
    is(ask(&peer, "{close,%" PRIu64 "}", f), "ok");
    assert_non_null(strstr(ask(&peer, "list"), "handles=>3,clients=>2"));
    peer_close(&other);
    assert_non_null(strstr(ask(&peer, "list"), "handles=>1,clients=>1"));
}

static void information_passes_by_the_worker_that_has_the_object(void **state)
{
    (void)state;
    uint64_t c = open_counters("hits", 2);
    call(&peer, make_term("{close,%" PRIu64 "}", c));
    assert_non_null(strstr(ask(&peer, "{info,%" PRIu64 "}", c), "kind=>counters,size=>32"));
    assert_non_null(strstr(ask(&peer, "{info,\"hits\"}"), "kind=>counters,size=>32"));
    is(heard(&peer), "ok");
}

static void too_long_messages_are_refused_to_their_callers(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b, 4096);
    reply_tuple(&b, 3);
    reply_atom(&b, "$gen_call");
    reply_tuple(&b, 2);
    reply_raw(&b, peer_pid(1));
    reply_raw(&b, peer_ref(4));
    const size_t head = b.len;
    reply_tuple(&b, 3);
    for (size_t n = 0; n <= b.len; n++) {
        client_too_long(peer.client, span_of(b.at, n));
        if (n >= head)
            is(told(), "{#Ref,{error,{limit,max_frame}}}");
        assert_false(anything(&peer));
    }
    buf_fini(&b);
}

static void objects_and_handles_are_limited(void **state)
{
    (void)state;
    for (int i = 0; i < 100; i++)
        opened(ask(&peer, "{open,\"f%d\",0,8,[create,write]}", i % 2));
    is(ask(&peer, "{pwrite,\"f0\",0,\"old\"}"), "ok");
    is(ask(&peer, "{open,\"f0\",0,8,[write,truncate]}"), "{error,{limit,max_handles}}");
    is(ask(&peer, "{pread,\"f0\",0,3}"), "{ok,<<\"old\">>}");
    is(ask(&peer, "{open,\"more\",0,8,[create,write]}"), "{error,{limit,max_handles}}");
    assert_int_equal(access(folder_file(host.dir, "more"), F_OK), -1);
}

static void openings_under_way_count_as_handles(void **state)
{
    (void)state;
    for (int i = 0; i < 98; i++)
        open_new("f", 8);
    const char *two = "{batch,[{open,\"f\",0,8,[write]},{open,\"g\",0,8,[create,write]}]}";
    call(&peer, make_term("{open,\"f\",0,8,[write]}"));
    call(&peer, make_term("%s", two));
    assert_non_null(strstr(heard(&peer), "kind=>region"));
    assert_non_null(strstr(heard(&peer), "kind=>region}},{error,{limit,max_handles}}]}"));
    assert_int_equal(access(folder_file(host.dir, "g"), F_OK), -1);
}

static void handles_of_all_are_limited(void **state)
{
    (void)state;
    struct peer other;
    host.server->options.max_all_handles = 3;
    peer_open(&other, &host, "other@localhost");
    const uint64_t f = open_new("f", 8);
    opened(ask(&other, "{open,\"f\",0,8,[]}"));
    const char *two = "{batch,[{open,\"f\",0,8,[]},{open,\"g\",0,8,[create,write]}]}";
    assert_non_null(strstr(ask(&other, "%s", two), "{error,{limit,max_all_handles}}]}"));
    assert_int_equal(access(folder_file(host.dir, "g"), F_OK), -1);
    is(ask(&peer, "{close,%" PRIu64 "}", f), "ok");
    const uint64_t g = opened(ask(&other, "{open,\"g\",0,8,[create,write]}"));
    is(ask(&peer, "{open,\"f\",0,8,[]}"), "{error,{limit,max_all_handles}}");
    is(ask(&other, "{close,%" PRIu64 "}", g), "ok");
    peer_close(&other);
    for (int i = 0; i < 3; i++)
        opened(ask(&peer, "{open,\"f\",0,8,[write]}"));
}

/* Where all have none left, nobody's first request has a place either. */
static void requests_of_all_that_wait_are_limited(void **state)
{
    (void)state;
    struct peer other;
    host.server->options.max_all_pending = 3;
    peer_open(&other, &host, "other@localhost");
    const uint64_t f = open_new("f", 8);
    for (int i = 0; i < 3; i++)
        call(&peer, make_term("{sync,%" PRIu64 "}", f));
    call(&other, make_term("{open,\"f\",0,8,[]}"));
    struct message *m = hear(&other);
    is(reply_of(m), "{error,{limit,max_all_pending}}");
    free(m);
    for (int i = 0; i < 3; i++)
        is(heard(&peer), "ok");
    opened(ask(&other, "{open,\"f\",0,8,[]}"));
    peer_close(&other);
}

/* One is admitted whatever its length. */
static void bytes_of_all_that_wait_are_limited(void **state)
{
    (void)state;
    enum { LONG = 1000 };
    char text[LONG + 1];
    memset(text, 'x', LONG);
    text[LONG] = '\0';
    const uint64_t f = open_new("f", LONG);
    host.server->options.max_all_pending_bytes = LONG;
    call(&peer, make_term("{sync,%" PRIu64 "}", f));
    call(&peer, make_term("{pwrite,%" PRIu64 ",0,\"%s\"}", f, text));
    is(heard(&peer), "{error,{limit,max_all_pending}}");
    is(heard(&peer), "ok");
    const char *lone =
        ask(&peer, "{batch,[{sync,%" PRIu64 "},{pwrite,%" PRIu64 ",0,\"%s\"}]}", f, f, text);
    is(lone, "{ok,[ok,ok]}");
}

/* Neither fixture: the engine stops while the peer is there. */
static void the_engine_stops_beside_an_opening(void **state)
{
    (void)state;
    setup(state);
    const uint64_t f = open_new("f", 8);
    call(&peer, make_term("{open,\"g\",0,8,[create,write]}"));
    call(&peer, make_term("{sync,%" PRIu64 "}", f));
    host_begin_stop(&host);
    for (int i = 0; !host.stopped && i < 1000; i++)
        uv_run(&host.loop, UV_RUN_ONCE);
    peer_close(&peer);
    host_close(&host);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
        TEST(bytes_written_are_read),
        TEST(an_iolist_is_flattened),
        TEST(lines_are_read),
        TEST(integers_are_atomic_words),
        TEST(the_region_begins_at_its_offset),
        TEST(sizes_are_kept_unless_asked_otherwise),
        TEST(all_handles_share_one_mapping),
        TEST(a_private_copy_stays_private),
        TEST(truncate_begins_anew),
        TEST(a_full_disk_keeps_the_old_bytes_from_truncation),
        TEST(wrong_openings_change_nothing),
        TEST(counters_count),
        TEST(counters_grow_and_keep_their_values),
        TEST(counters_open_by_their_name),
        TEST(counters_open_by_a_second_name),
        TEST(a_file_of_version_1_is_read),
        TEST(a_foreign_file_of_counters_is_refused),
        TEST(requests_wait_in_line_while_a_worker_has_the_object),
        TEST(what_waits_is_taken_back),
        TEST(a_line_is_bounded),
        TEST(a_name_that_may_not_wait_is_forgotten),
        TEST(a_batch_answers_in_order),
        TEST(a_long_batch_gives_way_to_others),
        TEST(a_long_envelope_gives_way_to_others),
        TEST(who_is_behind_may_hang_up),
        TEST(who_looks_at_everything_without_end_pauses),
        TEST(an_envelope_is_answered_to_the_lane),
        TEST(a_barrier_tells_of_casts),
        TEST(ids_of_others_are_stale),
        TEST(a_lost_peer_takes_its_handles_along),
        TEST(an_owner_takes_its_handle_along),
        TEST(a_file_cut_by_others_is_an_error_of_that_object_alone),
        TEST(a_file_replaced_by_others_is_opened_anew),
        TEST(names_without_end_are_not_kept),
        TEST(unknown_requests_are_named),
        TEST(a_reply_longer_than_a_frame_is_an_error),
        TEST(replies_may_fill_a_frame_to_its_end),
        TEST(changes_whose_reply_does_not_fit_are_not_made),
        TEST(batches_that_wait_hold_so_much_together),
        TEST(information_is_a_map),
        TEST(handles_and_their_clients_are_counted),
        TEST(information_passes_by_the_worker_that_has_the_object),
        TEST(too_long_messages_are_refused_to_their_callers),
        TEST(objects_and_handles_are_limited),
        TEST(openings_under_way_count_as_handles),
        TEST(handles_of_all_are_limited),
        TEST(requests_of_all_that_wait_are_limited),
        TEST(bytes_of_all_that_wait_are_limited),
        cmocka_unit_test(the_engine_stops_beside_an_opening),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
