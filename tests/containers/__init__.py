"""The images and docker-compose.yml on a real container engine; `make containers`."""
