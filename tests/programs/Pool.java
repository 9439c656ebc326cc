import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.*;

public class Pool {
  public static void main(String[] arguments) throws Exception {
    ExecutorService pool = Executors.newFixedThreadPool(4);
    List<Future<Long>> all = new ArrayList<>();
    for (int n = 0; n < 40; n++) {
      final int k = n;
      all.add(pool.submit(() -> {
        long sum = 0;
        for (int i = 0; i < 50000; i++) {
          String text = "x" + (i + k);
          sum += text.hashCode();
        }
        return sum;
      }));
    }
    long sum = 0;
    for (Future<Long> one : all) sum += one.get();
    pool.shutdown();
    System.gc();
    System.out.println(sum);
  }
}
