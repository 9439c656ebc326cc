// What the debuggees share: a check that ends the program with the place that failed.

#pragma once
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define CHECK(condition)                                                                             \
    do {                                                                                             \
        if (!(condition)) {                                                                          \
            fprintf(stderr, "%s:%d: %s (errno %d)\n", __FILE__, __LINE__, #condition, errno);        \
            exit(99);                                                                                \
        }                                                                                            \
    } while (0)

// Says that a part went well, in a way that survives a fork.
#define GOOD(what)                                                                                   \
    do {                                                                                             \
        printf("good: %s\n", what);                                                                  \
        fflush(stdout);                                                                              \
    } while (0)
