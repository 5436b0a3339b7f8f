"""Reading what Spring Boot's actuator answers: health trees, Prometheus text, meters."""
