"""TLS around the gateway: nginx ends it before the mock, or begins it after the load; what it burns is nobody's."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.gateways.certificates import NAME, Certificate
from bench.gateways.processes import start, stop, wait_for
from bench.gateways.wire import connects, free_ports

NGINX_CONF = """
daemon off; worker_processes 1; pid {directory}/front.pid; error_log {directory}/front-error.log;
events {{ worker_connections 8192; }}
http {{
  access_log off; client_max_body_size 32m; client_body_buffer_size 1m;
  client_body_temp_path {directory}/fb; proxy_temp_path {directory}/fp; fastcgi_temp_path {directory}/ff;
  uwsgi_temp_path {directory}/fu; scgi_temp_path {directory}/fs;
  upstream mock {{ server 127.0.0.1:{behind}; keepalive 1024; keepalive_requests 1000000000; }}
  server {{
    listen 127.0.0.1:{port} ssl backlog=4096; keepalive_requests 1000000000; keepalive_timeout 1h;
    ssl_certificate {directory}/server.pem; ssl_certificate_key {directory}/server.key; ssl_protocols TLSv1.3;
    location / {{
      proxy_pass http://mock; proxy_http_version 1.1; proxy_set_header Connection "";
      proxy_buffering off; proxy_request_buffering off;
    }}
  }}
}}
"""


CLIENT_CONF = """
daemon off; worker_processes 1; pid {directory}/pid; error_log {directory}/error.log;
events {{ worker_connections 8192; }}
http {{
  access_log off; client_max_body_size 32m; client_body_buffer_size 1m;
  client_body_temp_path {directory}/b; proxy_temp_path {directory}/p; fastcgi_temp_path {directory}/f;
  uwsgi_temp_path {directory}/u; scgi_temp_path {directory}/s;
  upstream gateway {{ server 127.0.0.1:{gateway}; keepalive 1024; keepalive_requests 1000000000; }}
  server {{
    listen 127.0.0.1:{port} backlog=4096; keepalive_requests 1000000000; keepalive_timeout 1h;
    location / {{
      proxy_pass https://gateway; proxy_http_version 1.1; proxy_set_header Connection "";
      proxy_ssl_protocols TLSv1.3; proxy_ssl_verify on; proxy_ssl_trusted_certificate {authority};
      proxy_ssl_server_name on; proxy_ssl_name {name}; proxy_buffering off; proxy_request_buffering off;
    }}
  }}
}}
"""


@contextmanager
def tls_clients(directory: Path, gateway: int, certificate: Certificate, cores: list[int]) -> Iterator[int]:
    """A port for the load, which speaks no TLS: what is asked there is asked of the gateway over kept TLS 1.3."""
    directory.mkdir()
    port = free_ports()
    file = directory / "clients.conf"
    told = {"directory": directory, "gateway": gateway, "port": port, "authority": certificate.authority, "name": NAME}
    file.write_text(CLIENT_CONF.format(**told))
    process = start(["/usr/sbin/nginx", "-p", directory, "-c", file], directory, directory / "clients.log", on=cores)
    try:
        wait_for(lambda: connects(port), 10.0, "nginx, which speaks TLS for the load")
        yield port
    finally:
        stop(process)


@contextmanager
def tls_front(directory: Path, behind: int, certificate: Certificate, cores: list[int]) -> Iterator[int]:
    """A port that speaks TLS 1.3 and passes on to the mock."""
    port = free_ports()
    file = directory / "front.conf"
    file.write_text(NGINX_CONF.format(directory=certificate.server.parent, port=port, behind=behind))
    process = start(["/usr/sbin/nginx", "-p", directory, "-c", file], directory, directory / "front.log", on=cores)
    try:
        wait_for(lambda: connects(port), 10.0, "nginx, which ends TLS before the mock")
        yield port
    finally:
        stop(process)
