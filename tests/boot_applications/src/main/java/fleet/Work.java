package fleet;

import java.util.Arrays;
import java.util.Map;
import java.util.TreeMap;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.concurrent.atomic.AtomicLong;
import org.springframework.beans.factory.ObjectProvider;
import org.springframework.web.bind.annotation.GetMapping;
import org.springframework.web.bind.annotation.PathVariable;
import org.springframework.web.bind.annotation.RequestParam;
import org.springframework.web.bind.annotation.RestController;

/** What the application is there for: requests that are fast, slow, failing or cached. It counts them itself. */
@RestController
public class Work {
  private final ConcurrentLinkedQueue<Long> nanos = new ConcurrentLinkedQueue<>();
  private final AtomicLong failed = new AtomicLong();
  private final AtomicLong looked = new AtomicLong();
  private final ObjectProvider<Answers> answers;

  Work(ObjectProvider<Answers> answers) {
    this.answers = answers;
  }

  @GetMapping("/work/slow/{name}")
  public String slow(@PathVariable String name, @RequestParam(defaultValue = "0") long ms) throws InterruptedException {
    long started = System.nanoTime();
    Thread.sleep(ms);
    nanos.add(System.nanoTime() - started);
    return name;
  }

  @GetMapping("/work/fail")
  public String fail() {
    failed.incrementAndGet();
    throw new IllegalStateException("asked to fail");
  }

  @GetMapping("/work/cached/{key}")
  public String cached(@PathVariable String key) {
    looked.incrementAndGet();
    return answers.getObject().of(key);
  }

  /** Requests that this class served, as it counted them: seconds and counts. */
  Map<String, Object> truth() {
    Map<String, Object> truth = new TreeMap<>();
    long[] sorted = nanos.stream().mapToLong(Long::longValue).sorted().toArray();
    truth.put("served", sorted.length);
    truth.put("failed", failed.get());
    truth.put("seconds", Arrays.stream(sorted).sum() / 1e9);
    if (sorted.length > 0) {
      truth.put("p99", sorted[(int) Math.ceil(0.99 * sorted.length) - 1] / 1e9);
    }
    Answers cache = answers.getIfAvailable();
    if (cache != null) {
      truth.put("cacheMisses", cache.computed());
      truth.put("cacheHits", looked.get() - cache.computed());
    }
    return truth;
  }
}
