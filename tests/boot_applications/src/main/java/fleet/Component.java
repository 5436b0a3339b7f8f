package fleet;

/** The status that the component `switchable` reports. */
@org.springframework.stereotype.Component
public class Component {
  volatile String status = "UP";
}
