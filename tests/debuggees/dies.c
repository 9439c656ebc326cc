// Ends by the signal whose number is its argument.
#include "check.h"
#include <signal.h>

int main(int count, char **arguments) {
    CHECK(count == 2);
    GOOD("about to die");
    kill(getpid(), atoi(arguments[1]));
    pause();
    return 0;
}
