/* The server instance's number: part of client IDs and stateids, so that no two instances share any. */
#pragma once

#include <stdint.h>

#include "config/error.h"

/*
 * Draws the number of this instance: the time in seconds, but more than that of every earlier
 * instance that used `state_dir`, where it is remembered on stable storage before this returns.
 * 0, or -errno with `err` filled.
 */
int epoch_next(const char *state_dir, uint32_t *epoch, struct config_error *err);
