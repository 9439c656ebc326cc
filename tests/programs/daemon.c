// A daemon of the old school: it forks twice, leaves its session and its folder, and runs a job now and then.

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static volatile sig_atomic_t reload, over;
static void on_hangup(int signal) { (void)signal; reload = 1; }
static void on_terminate(int signal) { (void)signal; over = 1; }

static void say(int log, const char *text) { dprintf(log, "%s\n", text); }

int main(int count, char **arguments) {
    if (count != 2)
        return 2;
    if (fork() != 0)
        return 0;
    setsid();
    signal(SIGHUP, on_hangup);
    signal(SIGTERM, on_terminate);
    if (fork() != 0)
        _exit(0);
    int log = open("daemon.log", O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0644);
    if (chdir("/") != 0)
        return 1;
    umask(027);
    for (int n = 0; n < 3; n++) {
        close(n);
        open("/dev/null", O_RDWR);
    }
    FILE *pid = fopen(arguments[1], "w");
    if (!pid)
        return 1;
    fprintf(pid, "%d\n", getpid());
    fclose(pid);
    int jobs = 0;
    while (!over) {
        struct timespec pause = {0, 30000000};
        nanosleep(&pause, 0);
        if (reload) {
            reload = 0;
            say(log, "read its table again");
        }
        if (jobs < 5) {
            pid_t job = fork();
            if (job == 0) {
                dup2(log, 1);
                execl("/bin/sh", "sh", "-c", "echo job $(( 6 * 7 ))", (char *)0);
                _exit(127);
            }
            int status;
            waitpid(job, &status, 0);
            if (++jobs == 5)
                say(log, "all jobs done");
        }
    }
    say(log, "ends");
}
