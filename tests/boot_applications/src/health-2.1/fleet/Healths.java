package fleet;

import java.util.Collections;
import java.util.HashMap;
import java.util.Map;
import org.springframework.boot.actuate.health.CompositeHealthIndicator;
import org.springframework.boot.actuate.health.Health;
import org.springframework.boot.actuate.health.HealthAggregator;
import org.springframework.boot.actuate.health.HealthIndicator;
import org.springframework.context.annotation.Bean;
import org.springframework.context.annotation.Configuration;

/** Health of the application's own making: a component with a switch, and components inside of components. */
@Configuration
public class Healths {
  @Bean
  public HealthIndicator switchableHealthIndicator(Component component) {
    return () -> Health.status(component.status).withDetail("error", "switched to " + component.status).build();
  }

  @Bean
  public HealthIndicator outerHealthIndicator(HealthAggregator aggregator) {
    HealthIndicator leaf = () -> Health.up().withDetail("depth", 3).build();
    Map<String, HealthIndicator> members = new HashMap<>();
    members.put("near", leaf);
    members.put("inner", new CompositeHealthIndicator(aggregator, Collections.singletonMap("leaf", leaf)));
    return new CompositeHealthIndicator(aggregator, members);
  }
}
