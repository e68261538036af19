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
 * *served is the number of the last instance that has served clients, 0 if none has.
 * 0, or -errno with `err` filled.
 */
int epoch_next(const char *state_dir, uint32_t *epoch, uint32_t *served, struct config_error *err);
/*
 * This instance is about to serve: what an earlier one left for its successor is used up, or void.
 * On stable storage when it returns. 0, or -errno with `err` filled.
 */
int epoch_serve(const char *state_dir, uint32_t epoch, struct config_error *err);
/* No later instance on this directory gets an epoch that is not greater than `epoch`. */
int epoch_raise(const char *state_dir, uint32_t epoch, struct config_error *err);
