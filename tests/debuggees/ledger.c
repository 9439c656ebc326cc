// The demo: a small ledger whose journal silently overwrites its neighbour. The program goes on for a
// long time, then an audit follows the spoiled pointer and crashes far from the cause.

#include <stdio.h>
#include <stdlib.h>

struct account {
    const char *owner;
    long balance;
    struct account *next;
};

struct entry {
    long amount;
};

#define JOURNAL_ENTRIES 1000

// The journal keeps the latest entries; the registry knows all accounts.
static struct {
    int used;
    struct entry journal[JOURNAL_ENTRIES];
    struct account *newest;
    int accounts;
} books;

static void open_account(const char *owner, long balance) {
    struct account *account = malloc(sizeof *account);
    account->owner = owner;
    account->balance = balance;
    account->next = books.newest;
    books.newest = account;
    books.accounts++;
}

// Starts over when the journal is full. The comparison is off by one: one entry is written behind the end.
static void journal_add(long amount) {
    struct entry entry = {.amount = amount};
    if (books.used > JOURNAL_ENTRIES)
        books.used = 0;
    books.journal[books.used] = entry;
    books.used++;
}

static long audit(void) {
    long total = 0;
    for (struct account *account = books.newest; account; account = account->next)
        total += account->balance;
    return total;
}

static long simulate(int days) {
    unsigned long state = 42;
    long volume = 0;
    for (int day = 0; day < days; day++)
        for (int i = 0; i < 1000000; i++) {
            state = state * 6364136223846793005ul + 1442695040888963407ul;
            volume += state >> 60;
        }
    return volume;
}

int main(void) {
    open_account("ada", 100);
    open_account("grace", 250);
    open_account("barbara", 70);
    printf("opening balance: %ld\n", audit());
    for (long i = 1; i <= 1001; i++)
        journal_add(i % 7 + 1);
    printf("trading volume: %ld\n", simulate(200));
    printf("closing balance: %ld\n", audit());
    return 0;
}
