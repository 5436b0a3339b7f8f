package fleet;

import org.apache.kafka.clients.admin.NewTopic;
import org.springframework.beans.factory.annotation.Value;
import org.springframework.cache.annotation.EnableCaching;
import org.springframework.context.annotation.Bean;
import org.springframework.context.annotation.Configuration;
import org.springframework.context.annotation.Profile;
import org.springframework.kafka.annotation.EnableKafka;
import org.springframework.kafka.annotation.KafkaListener;

/** The application's cache and its consumer; both only where the servers are there. */
@Configuration
@EnableCaching
@EnableKafka
@Profile("full")
public class Stores {
  @Bean
  public NewTopic topic(@Value("${fleet.topic}") String name) {
    return new NewTopic(name, 1, (short) 1);
  }

  @KafkaListener(id = "events", idIsGroup = false, topics = {"${fleet.topic}"})
  public void take(String event) throws InterruptedException {
    Thread.sleep(100);
  }
}
