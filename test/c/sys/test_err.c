/* Every row of the list of errors. */
#include "sys/err.h"

#include <errno.h>

#include "support/check.h"
#include "sys/bytes.h"

static void every_error_has_an_atom_and_a_text_of_its_own(void **state)
{
    (void)state;
    for (enum err e = OK; e < ERR_COUNT; e++) {
        assert_non_null(err_atom(e));
        assert_true(strspn(err_atom(e), "abcdefghijklmnopqrstuvwxyz_") == strlen(err_atom(e)));
        assert_true(strlen(err_atom(e)) > 0);
        assert_true(strlen(err_text(e)) > 0);
        for (enum err other = OK; other < e; other++) {
            assert_string_not_equal(err_text(e), err_text(other));
            assert_false(err_shape(e) == err_shape(other) &&
                         strcmp(err_atom(e), err_atom(other)) == 0);
        }
    }
    assert_string_equal(err_text(OK), "ok");
}

static void shapes_are_as_the_list_says(void **state)
{
    (void)state;
    assert_int_equal(err_shape(ERR_BADARG), ERR_PLAIN);
    assert_int_equal(err_shape(ERR_LOCKED), ERR_HELD);
    assert_int_equal(err_shape(ERR_SIZE_MISMATCH), ERR_DETAIL);
    assert_int_equal(err_shape(ERR_NOT_REGULAR), ERR_NOT_A);
    assert_int_equal(err_shape(ERR_KIND_REGION), ERR_WRONG_KIND);
    assert_int_equal(err_shape(ERR_MAX_FRAME), ERR_LIMIT);
}

/* The names of the system's errors are those that Erlang's file module gives. */
static void numbers_of_the_system_have_their_names(void **state)
{
    (void)state;
    static const struct {
        int number;
        const char *atom;
    } rows[] = {
        {EACCES, "eacces"}, {EPERM, "eperm"},     {ENOENT, "enoent"},
        {EEXIST, "eexist"}, {EISDIR, "eisdir"},   {ENOTDIR, "enotdir"},
        {ELOOP, "eloop"},   {ENOSPC, "enospc"},   {ENAMETOOLONG, "enametoolong"},
        {EFBIG, "efbig"},   {EDQUOT, "edquot"},   {EIO, "eio"},
        {EROFS, "erofs"},   {EMFILE, "emfile"},   {ENFILE, "enfile"},
        {ENOMEM, "enomem"}, {EBUSY, "ebusy"},     {EINVAL, "einval"},
        {EXDEV, "eacces"},  {ENOTSUP, "enotsup"}, {ENOSYS, "enotsup"},
        {EAGAIN, "locked"}, {ENODEV, "enotsup"},  {ETXTBSY, "ebusy"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        assert_string_equal(err_atom(err_from_errno(rows[i].number)), rows[i].atom);
}

static void an_unknown_number_is_an_input_output_error(void **state)
{
    (void)state;
    static const int numbers[] = {-1, 0, EINTR, ECHILD, 9999};
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++)
        assert_int_equal(err_from_errno(numbers[i]), ERR_EIO);
}

static void the_last_error_is_that_of_errno(void **state)
{
    (void)state;
    errno = ENOSPC;
    assert_int_equal(err_last(), ERR_ENOSPC);
    errno = EACCES;
    assert_int_equal(err_last(), ERR_EACCES);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_error_has_an_atom_and_a_text_of_its_own),
        cmocka_unit_test(shapes_are_as_the_list_says),
        cmocka_unit_test(numbers_of_the_system_have_their_names),
        cmocka_unit_test(an_unknown_number_is_an_input_output_error),
        cmocka_unit_test(the_last_error_is_that_of_errno),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
