package fleet;

import java.util.Collections;
import java.util.HashMap;
import java.util.Map;
import org.springframework.boot.actuate.health.CompositeHealthContributor;
import org.springframework.boot.actuate.health.Health;
import org.springframework.boot.actuate.health.HealthContributor;
import org.springframework.boot.actuate.health.HealthIndicator;
import org.springframework.context.annotation.Bean;
import org.springframework.context.annotation.Configuration;

/** Health of the application's own making: a component with a switch, and components inside of components. */
@Configuration
public class Healths {
  @Bean
  public HealthIndicator switchable(Component component) {
    return () -> Health.status(component.status).withDetail("error", "switched to " + component.status).build();
  }

  @Bean
  public CompositeHealthContributor outer() {
    HealthIndicator leaf = () -> Health.up().withDetail("depth", 3).build();
    Map<String, HealthContributor> members = new HashMap<>();
    members.put("near", leaf);
    members.put("inner", CompositeHealthContributor.fromMap(Collections.singletonMap("leaf", leaf)));
    return CompositeHealthContributor.fromMap(members);
  }
}
