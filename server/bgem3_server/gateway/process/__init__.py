"""The processes of the service: listening, watched workers, an orderly stop."""
