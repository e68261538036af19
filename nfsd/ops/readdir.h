#pragma once

#include <stdint.h>

#include "nfsd/nfs4.h"

/* The cookie verifier of every directory. */
extern const uint8_t readdir_verifier[NFS4_VERIFIER_SIZE];
