# Computes for about two seconds while an interval timer of 10 ms interrupts it. Only what is the same in every run
# is printed.
use strict;
use warnings;
use Time::HiRes qw(setitimer ITIMER_REAL);

my $ticks = 0;
$SIG{ALRM} = sub { $ticks++ };
setitimer(ITIMER_REAL, 0.01, 0.01);
my $rounds = @ARGV ? $ARGV[0] : 8_000_000;
my ($total, %table) = (0);
for my $i (0 .. $rounds - 1) {
    $total = ($total * 31 + $i) & 0xFFFFFFFF;
    $table{ $total % 997 } = "$total" if $i % 1000 == 0;
}
setitimer(ITIMER_REAL, 0);
print "$total ", scalar(keys %table), $ticks > 0 ? " ticks\n" : " no ticks\n";
