"""The beginning of a configuration: from addresses, from an application that is asked, from a cluster."""
