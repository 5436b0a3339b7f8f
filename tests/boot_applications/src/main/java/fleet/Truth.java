package fleet;

import com.zaxxer.hikari.HikariDataSource;
import com.zaxxer.hikari.HikariPoolMXBean;
import java.lang.management.GarbageCollectorMXBean;
import java.lang.management.ManagementFactory;
import java.lang.management.MemoryPoolMXBean;
import java.lang.management.MemoryType;
import java.util.Map;
import java.util.TreeMap;
import javax.sql.DataSource;
import org.apache.kafka.common.Metric;
import org.flywaydb.core.Flyway;
import org.springframework.beans.factory.ObjectProvider;
import org.springframework.boot.SpringBootVersion;
import org.springframework.kafka.config.KafkaListenerEndpointRegistry;
import org.springframework.web.bind.annotation.GetMapping;
import org.springframework.web.bind.annotation.RestController;

/** The application's own numbers, from where they arise: not from the meters that the exporter reads. */
@RestController
public class Truth {
  private final ObjectProvider<DataSource> database;
  private final ObjectProvider<Flyway> flyway;
  private final ObjectProvider<KafkaListenerEndpointRegistry> listeners;
  private final Work work;

  Truth(
      ObjectProvider<DataSource> database,
      ObjectProvider<Flyway> flyway,
      ObjectProvider<KafkaListenerEndpointRegistry> listeners,
      Work work) {
    this.database = database;
    this.flyway = flyway;
    this.listeners = listeners;
    this.work = work;
  }

  @GetMapping("/truth")
  public Map<String, Object> truth() throws Exception {
    Map<String, Object> truth = new TreeMap<>(work.truth());
    truth.put("boot", SpringBootVersion.getVersion());
    truth.put("startTime", ManagementFactory.getRuntimeMXBean().getStartTime() / 1e3);
    truth.put("uptime", ManagementFactory.getRuntimeMXBean().getUptime() / 1e3);
    memory(truth);
    collections(truth);
    pool(truth);
    lag(truth);
    return truth;
  }

  /** Apart, since Flyway asks the database: the pool may have no connection left. */
  @GetMapping("/truth/migrations")
  public Map<String, Object> migrations() {
    Map<String, Object> truth = new TreeMap<>();
    Flyway migrations = flyway.getObject();
    truth.put("pending", migrations.info().pending().length);
    truth.put("version", String.valueOf(migrations.info().current().getVersion()));
    return truth;
  }

  private static void memory(Map<String, Object> truth) {
    long used = 0;
    long max = 0;
    long committed = 0;
    for (MemoryPoolMXBean pool : ManagementFactory.getMemoryPoolMXBeans()) {
      if (pool.getType() == MemoryType.HEAP) {
        used += pool.getUsage().getUsed();
        committed += pool.getUsage().getCommitted();
        max += Math.max(0, pool.getUsage().getMax());
      }
    }
    truth.put("heapUsed", used);
    truth.put("heapCommitted", committed);
    truth.put("heapMax", max);
  }

  private static void collections(Map<String, Object> truth) {
    long pauses = 0;
    long milliseconds = 0;
    for (GarbageCollectorMXBean collector : ManagementFactory.getGarbageCollectorMXBeans()) {
      pauses += collector.getCollectionCount();
      milliseconds += collector.getCollectionTime();
    }
    truth.put("gcPauses", pauses);
    truth.put("gcSeconds", milliseconds / 1e3);
  }

  private void pool(Map<String, Object> truth) throws Exception {
    DataSource source = database.getIfAvailable();
    if (source != null) {
      HikariDataSource hikari = source.unwrap(HikariDataSource.class);
      HikariPoolMXBean pool = hikari.getHikariPoolMXBean();
      truth.put("pool", hikari.getPoolName());
      truth.put("poolMax", hikari.getMaximumPoolSize());
      truth.put("poolActive", pool.getActiveConnections());
      truth.put("poolIdle", pool.getIdleConnections());
      truth.put("poolPending", pool.getThreadsAwaitingConnection());
    }
  }

  /** What the client's own metrics say of the topic under its own name. */
  private void lag(Map<String, Object> truth) {
    KafkaListenerEndpointRegistry registry = listeners.getIfAvailable();
    if (registry != null && registry.getListenerContainer("events") != null) {
      Map<String, Double> lag = new TreeMap<>();
      registry.getListenerContainer("events").metrics().values().stream()
          .flatMap(metrics -> metrics.values().stream())
          .filter(metric -> metric.metricName().name().equals("records-lag"))
          .forEach(metric -> add(lag, metric));
      truth.put("lag", lag);
    }
  }

  private static void add(Map<String, Double> lag, Metric metric) {
    Object value = metric.metricValue();
    if (value instanceof Double && !((Double) value).isNaN()) {
      lag.merge(metric.metricName().tags().get("topic"), (Double) value, Double::sum);
    }
  }
}
