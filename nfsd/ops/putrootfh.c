/*
 * PUTROOTFH and PUTPUBFH: RFC 8881 sections 18.21 and 18.20. The public filehandle is the root,
 * as those sections allow.
 */
#include "nfsd/ops_list.h"

static enum nfsstat4 putrootfh_run(struct compound *c, void *args)
{
	struct export *top = export_set_root(c->exports);
	struct object *root;
	int err = top->backend->backend->root(top->backend, &root);

	return err ? status_from_errno(err) : compound_set_current(c, top, root);
}

const struct op_row op_putrootfh = {
	.name = "PUTROOTFH",
	.max_minor = 2,
	.run = putrootfh_run,
};

const struct op_row op_putpubfh = {
	.name = "PUTPUBFH",
	.max_minor = 2,
	.run = putrootfh_run,
};
