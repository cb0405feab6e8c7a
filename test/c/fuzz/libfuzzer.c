/* What libFuzzer calls. Of the inputs a part is made anew as the target makes them, a part is
 * changed as it knows how, the rest as libFuzzer does. */
#include "fuzz/driver.h"
#include "fuzz/target.h"

/* From so many executions on all that the target counts must have been reached. */
enum { MANY = 20000 };

/* The names and types that libFuzzer wants. */
int LLVMFuzzerInitialize(int *argc, char ***argv); /* NOLINT(readability-non-const-parameter) */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t most, unsigned seed);
size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t most);

static void at_end(void)
{
    driver_end(driver_executions() >= MANY);
}

int LLVMFuzzerInitialize(int *argc, char ***argv) /* NOLINT(readability-non-const-parameter) */
{
    (void)argc;
    (void)argv;
    driver_begin();
    return atexit(at_end);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    driver_run(span_of(data, size));
    return 0;
}

static void change(struct dice *d, struct buf *input)
{
    const uint64_t times = 1 + dice_below(d, 3);
    for (uint64_t i = 0; i < times && input->len > 0; i++)
        target.change(d, input);
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t most, unsigned seed)
{
    struct dice d = dice_of(seed, size);
    struct buf input;
    const bool anew = dice_one_in(&d, 4);
    if (!anew && dice_one_in(&d, 3))
        return LLVMFuzzerMutate(data, size, most);
    buf_init(&input, (size_t)8 * TARGET_INPUT_MOST);
    if (anew) {
        target.make(&d, &input);
    } else {
        buf_put(&input, data, size);
        change(&d, &input);
    }
    must(!input.failed);
    const bool fits = input.len > 0 && input.len <= most;
    if (fits)
        memcpy(data, input.at, input.len);
    const size_t len = fits ? input.len : size;
    buf_fini(&input);
    return fits ? len : LLVMFuzzerMutate(data, size, most);
}
