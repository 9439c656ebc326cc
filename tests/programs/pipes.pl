my $sum = 0;
for my $n (1..40) {
  pipe(my $r, my $w);
  if (!fork) { close $r; my $k = 0; $k += $_ * $n for 1..100000; print $w $k, "\n"; close $w; exit 0 }
  close $w;
  $sum += <$r>;
  wait;
}
print "$sum\n";
