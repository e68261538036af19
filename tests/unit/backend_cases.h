/* The cases that every backend has to pass: one array per subject matter, ended by a NULL name. */
#pragma once

#include "backend_fixture.h"

extern const struct CMUnitTest cases_names[], cases_permissions[], cases_files[], cases_listing[],
    cases_sharing[], cases_xattrs[];

/* The fixture of the running case. */
static inline struct fixture *fixture_of(void **state)
{
	return *state;
}
