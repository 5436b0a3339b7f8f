"""Who the exporter is to others: secrets, ways in, access tokens. Transport is `exporter.net`."""
