"""What the actuator probe is made of: recording what an application says, its main port, its migrations."""
