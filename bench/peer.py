"""The peer: OpenStack Zed from Debian 12 packages, all in one, hypervisor driver `fake`, two workers per API, on a
machine of 2 cores and 23 GiB. Times in ms, memory in MB; only what is comparable is listed."""

PEER: dict[str, float] = {
    "start until every API answers, ms": 60_500,
    "memory at idle, MB PSS": 3_451,
    "CPU at idle, ms per minute": 11_000,
    "token by password, p50 ms": 206,
    "token by password, CPU ms": 234,
    "validate a token, p50 ms": 12,
    "validate a token, CPU ms": 15,
    "servers/detail of 0, p50 ms": 25,
    "servers/detail of 1000, p50 ms": 1_801,
    "one server, p50 ms": 104,
    "POST a port, CPU ms": 350,
    "POST a server, answer, p50 ms": 219,
    "server until ACTIVE under load, ms each": 3_325,
    "server until ACTIVE under load, CPU ms each": 4_650,
    "image up, ms per 256 MB": 1_094,
    "image down, ms per 256 MB": 176,
}
