"""What is shipped beside the image, and what is known of it: `make wheel`, `make sbom`, and the audit of `make check`."""
