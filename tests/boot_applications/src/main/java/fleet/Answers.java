package fleet;

import java.util.concurrent.atomic.AtomicLong;
import org.springframework.cache.annotation.Cacheable;
import org.springframework.context.annotation.Profile;
import org.springframework.stereotype.Component;

/** Answers that are kept in Redis: computing one means that the cache missed. */
@Component
@Profile("full")
public class Answers {
  private final AtomicLong computed = new AtomicLong();

  @Cacheable("answers")
  public String of(String key) {
    computed.incrementAndGet();
    return "answer to " + key;
  }

  /* Of the object itself, not of the proxy in front of it. */
  public long computed() {
    return computed.get();
  }
}
