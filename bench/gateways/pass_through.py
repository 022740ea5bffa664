"""Proxies that pass bytes through and look at none of them: the limit, and what a sidecar costs."""

from __future__ import annotations

from pathlib import Path

from bench.gateways.certificates import NAME
from bench.gateways.contestant import Contestant, Place, Program, executable, output

NGINX, HAPROXY = Path("/usr/sbin/nginx"), Path("/usr/sbin/haproxy")

NGINX_CONF = """
daemon off; worker_processes {workers}; pid {directory}/nginx.pid; error_log stderr;
events {{ worker_connections 8192; }}
http {{
  access_log off;
  client_body_temp_path {directory}/body; proxy_temp_path {directory}/proxy; fastcgi_temp_path {directory}/f;
  uwsgi_temp_path {directory}/u; scgi_temp_path {directory}/s;
  client_max_body_size 32m; client_body_buffer_size 1m; keepalive_requests 1000000000;
  upstream mocks {{ {servers} keepalive 1024; keepalive_requests 1000000000; }}
  server {{
    listen 127.0.0.1:{port} {front} backlog=4096; {shown}
    location / {{
      proxy_pass {scheme}://mocks; proxy_http_version 1.1; proxy_set_header Connection "";
      proxy_buffering off; proxy_request_buffering off; {tls}
    }}
  }}
}}
"""


def nginx(place: Place) -> Program:
    servers = " ".join(f"server 127.0.0.1:{port};" for port in place.upstreams)
    named = f"proxy_ssl_server_name on; proxy_ssl_name {NAME};"
    tls = f"proxy_ssl_verify on; proxy_ssl_protocols TLSv1.3; {named} proxy_ssl_trusted_certificate {place.authority};"
    front = place.front
    shown = (
        f"ssl_certificate {front.server}; ssl_certificate_key {front.key}; ssl_protocols TLSv1.2 TLSv1.3;"
        if front is not None
        else ""
    )
    written = NGINX_CONF.format(
        directory=place.directory,
        port=place.port,
        servers=servers,
        workers=len(place.cores),
        scheme="https" if place.tls else "http",
        tls=tls if place.tls else "",
        front="ssl" if front is not None else "",
        shown=shown,
    )
    file = place.directory / "nginx.conf"
    file.write_text(written)
    return Program([str(NGINX), "-p", str(place.directory), "-c", str(file)])


HAPROXY_CFG = """
global
  nbthread {threads}
  maxconn 8000
defaults
  mode http
  timeout connect 5s
  timeout client 300s
  timeout server 300s
  option http-no-delay
  http-reuse always
frontend in
  bind 127.0.0.1:{port}{front}
  default_backend mocks
backend mocks
"""


def haproxy(place: Place) -> Program:
    tls = f" ssl verify required ca-file {place.authority} verifyhost {NAME} sni str({NAME})" if place.tls else ""
    servers = "".join(f"  server s{port} 127.0.0.1:{port}{tls}\n" for port in place.upstreams)
    front = ""
    if place.front is not None:
        both = place.directory / "front.pem"
        both.write_text(place.front.server.read_text() + place.front.key.read_text())
        front = f" ssl crt {both}"
    file = place.directory / "haproxy.cfg"
    file.write_text(HAPROXY_CFG.format(port=place.port, threads=len(place.cores), front=front) + servers)
    return Program([str(HAPROXY), "-db", "-f", str(file)])


PASS_THROUGH = (
    Contestant("nginx", nginx, lambda: output(NGINX, "-v"), executable(NGINX), near=True, does_front=True),
    Contestant("haproxy", haproxy, lambda: output(HAPROXY, "-v"), executable(HAPROXY), near=True, does_front=True),
)
