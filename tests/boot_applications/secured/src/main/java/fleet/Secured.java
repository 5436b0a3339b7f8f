package fleet;

import static org.springframework.security.config.Customizer.withDefaults;

import org.springframework.boot.SpringApplication;
import org.springframework.boot.autoconfigure.SpringBootApplication;
import org.springframework.context.annotation.Bean;
import org.springframework.security.config.annotation.web.builders.HttpSecurity;
import org.springframework.security.core.userdetails.User;
import org.springframework.security.core.userdetails.UserDetailsService;
import org.springframework.security.provisioning.InMemoryUserDetailsManager;
import org.springframework.security.web.SecurityFilterChain;

/**
 * Runs applications whose every path wants Basic credentials or a bearer token that the identity provider signed.
 *
 * <p>Each argument is the properties of one application, separated by semicolons.
 */
@SpringBootApplication
public class Secured {
  public static void main(String[] applications) {
    for (String application : applications) {
      SpringApplication.run(Secured.class, application.split(";"));
    }
    System.out.println("the fleet is ready");
  }

  @Bean
  SecurityFilterChain chain(HttpSecurity http) throws Exception {
    return http.authorizeHttpRequests(requests -> requests.anyRequest().authenticated())
        .httpBasic(withDefaults())
        .oauth2ResourceServer(server -> server.jwt(withDefaults()))
        .build();
  }

  @Bean
  UserDetailsService users() {
    return new InMemoryUserDetailsManager(User.withUsername("prober").password("{noop}pässwörd:1").roles("PROBER").build());
  }
}
