/* Which of this machine's servers a subcommand is about: its state directory. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "admin/admin.h"
#include "base/hash.h"
#include "config/conf.h"

#define SERVE_STATE "/var/lib/atoll"

static char *state_of_serve(const char *dir)
{
	static const struct siphash_key fixed = { 0 };
	char *real = realpath(dir, NULL), *path = NULL;

	if (!real) {
		fprintf(stderr, "atoll: %s: %s\n", dir, strerror(errno));
		return NULL;
	}
	if (asprintf(&path, SERVE_STATE "/serve-%016llx",
		     (unsigned long long)siphash(&fixed, real, strlen(real))) < 0)
		path = NULL;
	free(real);
	return path;
}

static char *state_of_config(const char *file)
{
	struct config *c = NULL;
	struct config_error err;
	char text[600], *path = NULL;
	int rc;

	if (!file && access(ADMIN_DEFAULT_CONFIG, F_OK) == 0)
		file = ADMIN_DEFAULT_CONFIG;
	if (file) {
		rc = config_load(file, &c, &err);
	} else {
		c = config_new();
		rc = c ? config_finish(c, &err) : -ENOMEM;
	}
	if (rc && rc != -ENOMEM) {
		config_error_format(&err, text, sizeof(text));
		fprintf(stderr, "%s\n", text);
	} else if (!rc) {
		path = strdup(c->state_dir);
	}
	config_free(c);
	return path;
}

char *admin_state_dir(const char *dir, const char *state, const char *config)
{
	char *path;

	if (state)
		path = strdup(state);
	else
		return dir ? state_of_serve(dir) : state_of_config(config);
	if (!path)
		fprintf(stderr, "atoll: out of memory\n");
	return path;
}
