/* The table of requests, and requests read by it. */
#include "proto/op.h"

#include "support/check.h"
#include "support/terms.h"

static const struct op *row_of(const char *name, size_t argc)
{
    const struct op *row;
    for (size_t i = 0; (row = op_row(i)) != NULL; i++)
        if (strcmp(row->name, name) == 0 && strlen(row->args) == argc)
            return row;
    return NULL;
}

static bool has_rows(const char *name)
{
    for (size_t argc = 0; argc <= OP_ARGS; argc++)
        if (row_of(name, argc) != NULL)
            return true;
    return false;
}

/* Also what shares its place in the hash with others, and whatever comes behind the name. */
static void every_row_is_found_by_name_and_arity(void **state)
{
    (void)state;
    const struct op *row;
    assert_non_null(op_row(0));
    for (size_t i = 0; (row = op_row(i)) != NULL; i++) {
        char text[64];
        const size_t len = strlen(row->name);
        snprintf(text, sizeof text, "%sxyz", row->name);
        for (int argc = 0; argc <= OP_ARGS + 1; argc++) {
            bool known = false;
            const struct op *found = op_find(span_of(text, len), argc, &known);
            assert_ptr_equal(found, row_of(row->name, (size_t)argc));
            assert_true(known); /* a wrong arity is told apart from a wrong name */
        }
        assert_ptr_equal(row_of(row->name, strlen(row->args)), row); /* no row hides another */
    }
}

static void is_unknown(struct span name)
{
    for (int argc = 0; argc <= OP_ARGS; argc++) {
        bool known = true;
        assert_null(op_find(name, argc, &known));
        assert_false(known);
    }
}

static void names_like_those_of_rows_are_unknown(void **state)
{
    (void)state;
    const struct op *row;
    is_unknown(span_text(""));
    is_unknown(span_text("PING"));
    for (size_t i = 0; (row = op_row(i)) != NULL; i++) {
        char text[64];
        const size_t len = strlen(row->name);
        for (size_t cut = 0; cut < len; cut++) {
            snprintf(text, sizeof text, "%.*s", (int)cut, row->name);
            if (!has_rows(text))
                is_unknown(span_text(text));
        }
        snprintf(text, sizeof text, "%s_", row->name);
        is_unknown(span_text(text));
    }
}

/* Enough of them for every place in the hash. */
static void a_name_with_a_zero_byte_is_unknown(void **state)
{
    (void)state;
    const struct op *row;
    for (size_t i = 0; (row = op_row(i)) != NULL; i++) {
        char text[64] = "";
        const size_t len = strlen(row->name);
        memcpy(text, row->name, len);
        is_unknown(span_of(text, len + 1));
        is_unknown(span_of(text, sizeof text));
        for (unsigned n = 0; n < 1000; n++) {
            bool known = true;
            text[len + 1] = (char)n;
            text[len + 2] = (char)(n >> 8);
            assert_null(op_find(span_of(text, len + 3), (int)strlen(row->args), &known));
            assert_false(known);
        }
    }
}

static void other_names_are_unknown(void **state)
{
    (void)state;
    for (unsigned n = 0; n < 100000; n++) {
        char text[16];
        bool known = true;
        snprintf(text, sizeof text, "n%x", n);
        assert_null(op_find(span_text(text), (int)(n % 6), &known));
        assert_false(known);
    }
}

static void signatures_are_of_known_letters(void **state)
{
    (void)state;
    const struct op *row;
    for (size_t i = 0; (row = op_row(i)) != NULL; i++) {
        const size_t n = strlen(row->args);
        assert_true(n <= OP_ARGS);
        assert_int_equal(strspn(row->args, "ohcniubltwmf"), n);
        if (n > 0) /* the object comes first, and once */
            assert_int_equal(strcspn(row->args + 1, "ohcn"), n - 1);
    }
}

static void rows_are_as_their_flags_say(void **state)
{
    (void)state;
    const struct op *row;
    for (size_t i = 0; (row = op_row(i)) != NULL; i++) {
        const char first = row->args[0];
        assert_true(strlen(row->help) > 0);
        assert_int_equal(row->run == NULL, (row->flags & (OP_OPENS | OP_BATCH)) != 0);
        assert_int_equal(first == 'n', (row->flags & OP_OPENS) != 0);
        assert_int_equal(first == 'f', (row->flags & OP_MAKES) != 0);
        if ((row->flags & OP_HERE) != 0)
            assert_true(first == '\0' || first == 'l');
        if ((row->flags & OP_CHANGES) != 0)
            assert_true(first == 'o' || first == 'h');
    }
}

static void rows_of_one_name_stand_together(void **state)
{
    (void)state;
    const struct op *row;
    for (size_t i = 1; (row = op_row(i)) != NULL; i++)
        for (size_t k = 0; k + 1 < i; k++)
            if (strcmp(op_row(k)->name, row->name) == 0)
                assert_string_equal(op_row(i - 1)->name, row->name);
}

/* --- requests -------------------------------------------------------------------------------- */

struct decoding {
    struct call call;
    struct buf out;
    bool done;
};

static struct decoding decode(struct span request)
{
    struct decoding d = {.done = false};
    assert_int_equal(term_check(request), request.len);
    buf_init(&d.out, 4096);
    buf_init(&d.call.scratch, 4096);
    d.call.out = &d.out;
    d.done = op_decode(&d.call, request);
    d.call.out = NULL; /* the buffer moves with its owner */
    return d;
}

static void decoding_fini(struct decoding *d)
{
    call_fini(&d->call);
    buf_fini(&d->out);
}

static void arguments_are_read_by_their_letters(void **state)
{
    (void)state;
    struct decoding d = decode(make_term("{patomic_cas,{any,term},8,-1,2}"));
    assert_true(d.done);
    assert_ptr_equal(d.call.op, row_of("patomic_cas", 4));
    assert_int_equal(d.call.argc, 4);
    assert_string_equal(show_term(d.call.args[0].bytes), "{any,term}");
    assert_int_equal(d.call.args[1].u, 8);
    assert_true(d.call.args[2].i == -1 && d.call.args[3].i == 2);
    assert_int_equal(d.out.len, 0);
    decoding_fini(&d);

    d = decode(make_term("{pwrite,1,0,[\"ab\",[\"cd\",101],[]]}"));
    assert_true(d.done);
    assert_true(span_equal(d.call.args[2].bytes, span_text("abcde")));
    decoding_fini(&d);

    d = decode(make_term("{open,\"f\",0,8,[write]}"));
    assert_true(d.done);
    assert_true(span_equal(d.call.args[0].bytes, span_text("f")));
    assert_string_equal(show_term(d.call.args[3].bytes), "[write]");
    decoding_fini(&d);
}

static void a_request_without_arguments_is_an_atom_or_a_tuple(void **state)
{
    (void)state;
    static const char *const rows[] = {"ping", "{ping}"};
    for (size_t i = 0; i < 2; i++) {
        struct decoding d = decode(make_term("%s", rows[i]));
        assert_true(d.done);
        assert_ptr_equal(d.call.op, row_of("ping", 0));
        decoding_fini(&d);
    }
}

static void wrong_requests_get_their_reasons(void **state)
{
    (void)state;
    static const char *const rows[][2] = {
        {"17", "{error,badarg}"},
        {"[]", "{error,badarg}"},
        {"{}", "{error,badarg}"},
        {"\"ping\"", "{error,badarg}"},
        {"{1,2}", "{error,badarg}"},
        {"{{ping}}", "{error,badarg}"},
        {"nothing", "{error,{unknown_request,nothing}}"},
        {"{nothing,1,2,3,4,5,6,7,8,9}", "{error,{unknown_request,nothing}}"},
        {"{ping,1}", "{error,{unknown_request,ping}}"},
        {"pread", "{error,{unknown_request,pread}}"},
        {"{pread,1,2,3,4}", "{error,{unknown_request,pread}}"},
        {"{pread,1,a,3}", "{error,badarg}"},
        {"{pread,1,-1,3}", "{error,badarg}"},
        {"{pread,1,2,3.0}", "{error,badarg}"},
        {"{pread,1,{}}", "{error,badarg}"},
        {"{pwrite,1,2,a}", "{error,badarg}"},
        {"{pwrite,1,2,[a]}", "{error,badarg}"},
        {"{pwrite,1,2,[300]}", "{error,badarg}"},
        {"{patomic_add,1,8,a}", "{error,badarg}"},
        {"{open,f,0,8,[]}", "{error,badarg}"},
        {"{open,17,0,8,[]}", "{error,badarg}"},
        {"{open,\"f\",0,8,write}", "{error,badarg}"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct decoding d = decode(make_term("%s", rows[i][0]));
        assert_false(d.done);
        assert_int_equal(term_check(span_of(d.out.at, d.out.len)), d.out.len);
        assert_string_equal(show_term(span_of(d.out.at, d.out.len)), rows[i][1]);
        decoding_fini(&d);
    }
}

static void too_much_iodata_is_a_wrong_argument(void **state)
{
    (void)state;
    struct decoding d = {.done = false};
    buf_init(&d.out, 4096);
    buf_init(&d.call.scratch, 3);
    d.call.out = &d.out;
    assert_false(op_decode(&d.call, make_term("{pwrite,1,0,[\"ab\",[\"cd\"]]}")));
    assert_string_equal(show_term(span_of(d.out.at, d.out.len)), "{error,badarg}");
    decoding_fini(&d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_row_is_found_by_name_and_arity),
        cmocka_unit_test(names_like_those_of_rows_are_unknown),
        cmocka_unit_test(a_name_with_a_zero_byte_is_unknown),
        cmocka_unit_test(other_names_are_unknown),
        cmocka_unit_test(signatures_are_of_known_letters),
        cmocka_unit_test(rows_are_as_their_flags_say),
        cmocka_unit_test(rows_of_one_name_stand_together),
        cmocka_unit_test(arguments_are_read_by_their_letters),
        cmocka_unit_test(a_request_without_arguments_is_an_atom_or_a_tuple),
        cmocka_unit_test(wrong_requests_get_their_reasons),
        cmocka_unit_test(too_much_iodata_is_a_wrong_argument),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
