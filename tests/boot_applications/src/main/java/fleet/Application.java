package fleet;

import org.springframework.boot.SpringApplication;
import org.springframework.boot.autoconfigure.SpringBootApplication;

/**
 * Runs one or more differently configured applications in one JVM, which costs far less than a JVM each.
 *
 * <p>Each argument is one application: its profile and its properties, separated by semicolons.
 */
@SpringBootApplication
public class Application {
  public static void main(String[] applications) {
    for (String application : applications) {
      String[] parts = application.split(";");
      String[] properties = new String[parts.length];
      properties[0] = "--spring.profiles.active=" + parts[0];
      for (int at = 1; at < parts.length; at++) {
        properties[at] = "--" + parts[at];
      }
      SpringApplication.run(Application.class, properties);
    }
    System.out.println("the fleet is ready");
  }
}
