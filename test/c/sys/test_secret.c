/* Memory for secrets, as the kernel describes it. */
#include "sys/secret.h"

#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "support/check.h"
#include "sys/bytes.h"

/* What /proc/self/smaps says of the mapping that begins there: its line VmFlags. */
static const char *flags_of(const void *at)
{
    static char line[1024];
    char begin[32];
    bool inside = false;
    FILE *f = fopen("/proc/self/smaps", "re");
    assert_non_null(f);
    snprintf(begin, sizeof begin, "%lx-", (unsigned long)(uintptr_t)at);
    while (fgets(line, sizeof line, f) != NULL) {
        inside |= strncmp(line, begin, strlen(begin)) == 0;
        if (inside && strncmp(line, "VmFlags:", 8) == 0)
            break;
    }
    fclose(f);
    assert_true(inside);
    return line;
}

static bool has_flag(const void *at, const char *flag)
{
    char word[8];
    snprintf(word, sizeof word, " %s ", flag);
    return strstr(flags_of(at), word) != NULL;
}

static void it_is_locked_and_in_no_core_dump(void **state)
{
    (void)state;
    void *secret = secret_new(10);
    assert_true(has_flag(secret, "lo"));
    assert_true(has_flag(secret, "dd"));
    assert_true(has_flag(secret, "wf"));
    assert_false(secret_is_unlocked);
    secret_free(secret, 10);
}

static void it_is_as_long_as_was_asked_for(void **state)
{
    (void)state;
    static const uint8_t zeros[10000];
    uint8_t *secret = secret_new(sizeof zeros);
    assert_memory_equal(secret, zeros, sizeof zeros);
    memset(secret, 's', sizeof zeros);
    secret_free(secret, sizeof zeros);
    secret_free(NULL, 1);
}

static void a_child_does_not_have_it(void **state)
{
    (void)state;
    int status;
    char *secret = secret_new(10);
    memcpy(secret, "monster", 8);
    const pid_t child = fork();
    if (child == 0)
        _exit(secret[0] == '\0' ? 0 : 1);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    assert_string_equal(secret, "monster");
    secret_free(secret, 10);
}

/* Root may lock as much as it likes: the child that tries it is nobody. */
static void where_it_cannot_be_locked_the_rest_holds(void **state)
{
    (void)state;
    int status;
    const pid_t child = fork();
    if (child == 0) {
        const struct rlimit none = {0};
        if (setrlimit(RLIMIT_MEMLOCK, &none) != 0 || (geteuid() == 0 && setuid(65534) != 0))
            _exit(2);
        const char *secret = secret_new(10);
        _exit(secret != NULL && secret_is_unlocked ? 0 : 1);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_is_locked_and_in_no_core_dump),
        cmocka_unit_test(it_is_as_long_as_was_asked_for),
        cmocka_unit_test(a_child_does_not_have_it),
        cmocka_unit_test(where_it_cannot_be_locked_the_rest_holds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
