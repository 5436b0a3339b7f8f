package fleet;

import java.sql.Connection;
import java.sql.SQLException;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.CopyOnWriteArrayList;
import javax.sql.DataSource;
import org.springframework.beans.factory.ObjectProvider;
import org.springframework.kafka.config.KafkaListenerEndpointRegistry;
import org.springframework.web.bind.annotation.PostMapping;
import org.springframework.web.bind.annotation.RequestParam;
import org.springframework.web.bind.annotation.RestController;

/** Ways to make the application misbehave. */
@RestController
public class Switches {
  private final List<byte[]> leaked = new CopyOnWriteArrayList<>();
  private final List<Connection> held = new ArrayList<>();
  private final ObjectProvider<DataSource> database;
  private final ObjectProvider<KafkaListenerEndpointRegistry> listeners;
  private final Component component;

  Switches(
      ObjectProvider<DataSource> database, ObjectProvider<KafkaListenerEndpointRegistry> listeners, Component component) {
    this.database = database;
    this.listeners = listeners;
    this.component = component;
  }

  /** Keep memory; 0 gives it back. */
  @PostMapping("/switch/leak")
  public void leak(@RequestParam int mb) {
    if (mb == 0) {
      leaked.clear();
    }
    for (int at = 0; at < mb; at++) {
      leaked.add(new byte[1 << 20]);
    }
  }

  @PostMapping("/switch/collect")
  public void collect() {
    System.gc();
  }

  /** Hold that many connections of the pool from now on. */
  @PostMapping("/switch/hold")
  public synchronized void hold(@RequestParam int connections) throws SQLException {
    while (held.size() > connections) {
      held.remove(held.size() - 1).close();
    }
    while (held.size() < connections) {
      held.add(database.getObject().getConnection());
    }
  }

  /** Give a component of the health answer another status. */
  @PostMapping("/switch/component")
  public void component(@RequestParam String status) {
    component.status = status;
  }

  @PostMapping("/switch/consumer")
  public void consumer(@RequestParam boolean paused) {
    if (paused) {
      listeners.getObject().getListenerContainer("events").pause();
    } else {
      listeners.getObject().getListenerContainer("events").resume();
    }
  }
}
