package fleet;

import org.springframework.boot.availability.AvailabilityChangeEvent;
import org.springframework.boot.availability.LivenessState;
import org.springframework.boot.availability.ReadinessState;
import org.springframework.context.ApplicationContext;
import org.springframework.web.bind.annotation.PostMapping;
import org.springframework.web.bind.annotation.RequestParam;
import org.springframework.web.bind.annotation.RestController;

/** Switches of the states that Boot knows since 2.3. */
@RestController
public class Availability {
  private final ApplicationContext context;

  Availability(ApplicationContext context) {
    this.context = context;
  }

  @PostMapping("/switch/readiness")
  public void readiness(@RequestParam ReadinessState state) {
    AvailabilityChangeEvent.publish(context, state);
  }

  @PostMapping("/switch/liveness")
  public void liveness(@RequestParam LivenessState state) {
    AvailabilityChangeEvent.publish(context, state);
  }
}
