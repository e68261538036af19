/* When a loop waits awake: what is counted, what a spin in vain costs, and that idleness ends it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "rpc/spin.h"

#define SHORT 10000
#define LONG  1000000

static void sleep_short(struct spin *s, int times)
{
	for (int i = 0; i < times; i++)
		spin_slept(s, true, SHORT);
}

/* Short sleeps until the next spin. */
static int until_wanted(struct spin *s)
{
	int n = 0;

	for (; !spin_wanted(s) && n < 100000; n++)
		spin_slept(s, true, SHORT);
	return n;
}

static void spins_after_short_sleeps_in_a_row(void **state)
{
	struct spin s = { 0 };

	sleep_short(&s, SPIN_AFTER - 1);
	assert_false(spin_wanted(&s));
	spin_slept(&s, true, LONG);
	sleep_short(&s, SPIN_AFTER - 1);
	assert_false(spin_wanted(&s));
	sleep_short(&s, 1);
	assert_true(spin_wanted(&s));
	spin_ended(&s, true, SHORT);
	assert_true(spin_wanted(&s));
}

static void several_calls_in_a_turn_need_no_spin(void **state)
{
	struct spin s = { 0 };

	for (int i = 0; i < 100; i++)
		spin_slept(&s, false, SHORT);
	assert_false(spin_wanted(&s));
}

static void a_vain_spin_is_paid_from_credit(void **state)
{
	struct spin s = { 0 };

	until_wanted(&s);
	for (int i = 0; i < SPIN_COST; i++)
		spin_ended(&s, true, SHORT);
	spin_ended(&s, false, SPIN_NS);
	assert_false(spin_wanted(&s));
	assert_int_equal(until_wanted(&s), SPIN_AFTER);
	/* That credit is gone. */
	spin_ended(&s, false, SPIN_NS);
	assert_int_equal(until_wanted(&s), 3 * SPIN_AFTER);
}

static void penalties_double_and_are_bounded(void **state)
{
	struct spin s = { 0 };
	int last = until_wanted(&s), n;

	for (int i = 0; i < 20; i++) {
		spin_ended(&s, false, SPIN_NS);
		n = until_wanted(&s);
		assert_true(n > last || n == SPIN_PENALTY_MOST + SPIN_AFTER);
		last = n;
	}
	assert_int_equal(last, SPIN_PENALTY_MOST + SPIN_AFTER);
	/* All credit earned: forgiven. */
	for (int i = 0; i < SPIN_CREDIT_MOST; i++)
		spin_ended(&s, true, SHORT);
	for (int i = 0; i <= SPIN_CREDIT_MOST / SPIN_COST; i++)
		spin_ended(&s, false, SPIN_NS);
	assert_int_equal(until_wanted(&s), 3 * SPIN_AFTER);
}

/* The thread did not run meanwhile: that was no gain. */
static void an_event_that_comes_late_is_no_hit(void **state)
{
	struct spin s = { 0 };

	until_wanted(&s);
	spin_ended(&s, true, LONG);
	assert_false(spin_wanted(&s));
}

static void idleness_does_not_pay_a_penalty(void **state)
{
	struct spin s = { 0 };

	until_wanted(&s);
	spin_ended(&s, false, SPIN_NS);
	for (int i = 0; i < 100; i++)
		spin_slept(&s, true, LONG);
	assert_int_equal(until_wanted(&s), 3 * SPIN_AFTER);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(spins_after_short_sleeps_in_a_row),
		cmocka_unit_test(several_calls_in_a_turn_need_no_spin),
		cmocka_unit_test(a_vain_spin_is_paid_from_credit),
		cmocka_unit_test(penalties_double_and_are_bounded),
		cmocka_unit_test(an_event_that_comes_late_is_no_hit),
		cmocka_unit_test(idleness_does_not_pay_a_penalty),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
