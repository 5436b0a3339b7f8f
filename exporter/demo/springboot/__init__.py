"""Simulated Spring Boot 3.5 services: what their actuators answer is made of real work on real servers."""
