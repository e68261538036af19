/* Where the control socket of a state directory is, however long the directory's name. */
#pragma once

#include <sys/un.h>

struct control_address {
	int dir; /* the state directory, which the address goes through; -1: none */
	struct sockaddr_un un;
};

/* 0 or -errno; to be closed when the address is used no more. */
int control_address_open(struct control_address *a, const char *state_dir);
void control_address_close(struct control_address *a);
