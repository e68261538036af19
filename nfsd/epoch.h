/* The server instance's number: part of client IDs and stateids, so that no two instances share any. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "config/error.h"

/* True if an instance has used `state_dir` before. */
bool epoch_has_earlier(const char *state_dir);

/*
 * Draws the number of this instance: the time in seconds, but more than that of every earlier
 * instance that used `state_dir`, where it is remembered on stable storage before this returns.
 * 0, or -errno with `err` filled.
 */
int epoch_next(const char *state_dir, uint32_t *epoch, struct config_error *err);
