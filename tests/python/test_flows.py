#!/usr/bin/env python3
"""Runs the example programs, and the wider client API, against the agent at CONSUL_HTTP_ADDR.

The services are real: small HTTP servers of different speed on free ports, watched by checks that the agent runs.
Needs `requests` and one of the two clients that provide the module `consul`, unmodified from PyPI:

    python3 -m venv venv && venv/bin/pip install python-consul requests     # or: py-consul requests
    CONSUL_HTTP_ADDR=127.0.0.1:8500 venv/bin/python -m unittest discover -s tests/python
"""

import base64
import http.server
import os
import pathlib
import subprocess
import sys
import threading
import time
import unittest
import uuid

EXAMPLES = pathlib.Path(__file__).resolve().parents[2] / "examples" / "python"
sys.path.insert(0, str(EXAMPLES))

import consul  # noqa: E402
import requests  # noqa: E402

import agent  # noqa: E402
import deregister  # noqa: E402
import discover_fastest  # noqa: E402
import list_services  # noqa: E402
import register  # noqa: E402

PATIENCE = 15.0


def unique(prefix):
    return f"{prefix}-{uuid.uuid4().hex[:8]}"


def eventually(what, ask):
    """Asks until the answer is true, and gives it back."""
    end = time.monotonic() + PATIENCE
    while True:
        answer = ask()
        if answer:
            return answer
        if time.monotonic() > end:
            raise AssertionError(f"did not happen in {PATIENCE}s: {what}")
        time.sleep(0.05)


class Service:
    """An HTTP server that answers after a delay, with a status that can be changed while it runs."""

    def __init__(self, delay=0.0):
        outer = self
        self.delay, self.status = delay, 200

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                if self.path != "/health":
                    time.sleep(outer.delay)
                body = f"after {outer.delay}s\n".encode()
                try:
                    self.send_response(outer.status)
                    self.send_header("Content-Length", str(len(body)))
                    self.end_headers()
                    self.wfile.write(body)
                except BrokenPipeError:
                    pass  # Who timed us has given up.

            def log_message(self, *_args):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()


class Case(unittest.TestCase):
    def setUp(self):
        self.client = agent.client()

    def service(self, name, delay=0.0, **more):
        """Starts a server and registers it with the example; both end with the test."""
        server = Service(delay)
        self.addCleanup(server.close)
        more = {"path": "/health", "interval": "200ms", "timeout": "1s", **more}
        instance = register.register(self.client, name, server.port, **more)
        self.addCleanup(lambda: requests.put(agent.url(f"/v1/agent/service/deregister/{instance}"), timeout=10))
        return server, instance

    def passing(self, name, count):
        return eventually(
            f"{count} passing instances of {name}",
            lambda: len(list_services.instances(self.client, name, passing=True)) == count,
        )


class Flows(Case):
    """What a user does: register, see, find the fastest, deregister."""

    def test_the_fastest_of_three_is_found_and_leaves(self):
        name = unique("web")
        _slow, slow = self.service(name, 0.4, tags=["v1"])
        _fast, fast = self.service(name, 0.0, tags=["v2"])
        _middle, middle = self.service(name, 0.15)
        self.passing(name, 3)

        self.assertEqual(list_services.services(self.client)[name], ["v1", "v2"])
        rows = list_services.instances(self.client, name)
        self.assertEqual({row["id"] for row in rows}, {slow, fast, middle})
        self.assertEqual({row["status"] for row in rows}, {"passing"})
        self.assertEqual({row["address"] for row in rows}, {"127.0.0.1"})

        timed = discover_fastest.fastest(name, tries=2, bound=2.0)
        self.assertEqual([instance[0] for _took, instance in timed], [fast, middle, slow])
        self.assertGreaterEqual(timed[2][0], 0.4)
        within = discover_fastest.fastest(name, tries=1, bound=0.3)
        self.assertNotIn(slow, [instance[0] for _took, instance in within], "too slow for the bound")
        tagged = discover_fastest.fastest(name, tries=1, bound=2.0, tag="v1")
        self.assertEqual([instance[0] for _took, instance in tagged], [slow])

        deregister.deregister(self.client, fast)
        self.passing(name, 2)
        self.assertEqual(discover_fastest.fastest(name, tries=2, bound=2.0)[0][1][0], middle)
        for instance in (slow, middle):
            deregister.deregister(self.client, instance)
        eventually("the service is gone", lambda: name not in list_services.services(self.client))
        self.assertEqual(list_services.instances(self.client, name), [])
        self.assertEqual(discover_fastest.fastest(name), [])

    def test_all_are_timed_at_the_same_time(self):
        name = unique("parallel")
        for _ in range(5):
            self.service(name, 0.3)
        self.passing(name, 5)
        start = time.monotonic()
        self.assertEqual(len(discover_fastest.fastest(name, tries=1, bound=2.0)), 5)
        self.assertLess(time.monotonic() - start, 1.2, "five times 0.3s one after the other would be 1.5s")

    def test_a_failing_instance_is_not_discovered(self):
        name = unique("failing")
        bad_server, bad = self.service(name)
        _good, good = self.service(name, 0.1)
        self.passing(name, 2)
        bad_server.status = 500
        self.passing(name, 1)
        self.assertEqual([instance[0] for _took, instance in discover_fastest.fastest(name)], [good])
        status = {row["id"]: row["status"] for row in list_services.instances(self.client, name)}
        self.assertEqual(status, {bad: "critical", good: "passing"})
        outputs = [check["Output"] for check in self.client.agent.checks().values() if check["ServiceID"] == bad]
        self.assertTrue(outputs and "500 Internal Server Error" in outputs[0], outputs)
        bad_server.status = 200
        self.passing(name, 2)

    def test_near_the_agent(self):
        name = unique("near")
        _server, instance = self.service(name)
        self.passing(name, 1)
        self.assertEqual([found[0] for found in discover_fastest.passing(name, near="_agent")], [instance])

    def test_the_programs(self):
        name = unique("cli")
        server = Service()
        self.addCleanup(server.close)

        def run(program, *arguments, code=0):
            done = subprocess.run(
                [sys.executable, EXAMPLES / f"{program}.py", *arguments],
                capture_output=True, text=True, timeout=30, check=False, env=os.environ,
            )
            self.assertEqual(done.returncode, code, done.stderr)
            return done.stdout.strip()

        instance = run("register", name, str(server.port), "--interval", "200ms", "--tag", "a", "--path", "/health")
        self.assertEqual(instance, f"{name}-127.0.0.1-{server.port}")
        self.passing(name, 1)
        self.assertIn(f"{name} a", run("list_services"))
        self.assertIn(f"passing {instance} 127.0.0.1:{server.port} on ", run("list_services", name))
        self.assertRegex(run("discover_fastest", name), rf"^127\.0\.0\.1:{server.port} {instance} [\d.]+ms$")
        self.assertEqual(run("discover_fastest", name, "--near"), f"127.0.0.1:{server.port} {instance}")
        self.assertEqual(run("deregister", instance), f"{instance} deregistered")
        eventually("gone", lambda: run("list_services", name) == "")
        run("discover_fastest", name, code=1)


class Api(Case):
    """The wider client API, area by area."""

    def test_kv(self):
        prefix = unique("kv") + "/"
        kv = self.client.kv
        self.addCleanup(lambda: kv.delete(prefix, recurse=True))
        index, entry = kv.get(prefix + "a")
        self.assertIsNone(entry)
        self.assertGreater(int(index), 0)
        self.assertIs(kv.put(prefix + "a", "one", flags=7), True)
        index, entry = kv.get(prefix + "a")
        self.assertEqual((entry["Key"], entry["Value"], entry["Flags"]), (prefix + "a", b"one", 7))
        self.assertEqual(int(index), entry["ModifyIndex"])
        self.assertIs(kv.put(prefix + "a", "no", cas=0), False)
        self.assertIs(kv.put(prefix + "a", "two", cas=entry["ModifyIndex"]), True)
        kv.put(prefix + "b/c", b"\x00\xff")
        kv.put(prefix + "empty", "")
        self.assertEqual(kv.get(prefix, recurse=True)[1][1]["Value"], b"\x00\xff")
        self.assertIsNone(kv.get(prefix + "empty")[1]["Value"])
        self.assertEqual(kv.get(prefix, keys=True, separator="/")[1], [prefix + "a", prefix + "b/", prefix + "empty"])
        self.assertIs(kv.delete(prefix + "a"), True)
        self.assertIs(kv.delete(prefix, recurse=True), True)
        self.assertIsNone(kv.get(prefix, recurse=True)[1])

    def test_a_blocking_read_wakes(self):
        key = unique("blocking")
        kv = self.client.kv
        self.addCleanup(lambda: kv.delete(key))
        kv.put(key, "1")
        index, _entry = kv.get(key)
        threading.Timer(0.3, lambda: agent.client().kv.put(key, "2")).start()
        start = time.monotonic()
        later, entry = kv.get(key, index=index, wait="10s")
        self.assertLess(time.monotonic() - start, 5)
        self.assertEqual(entry["Value"], b"2")
        self.assertGreater(int(later), int(index))
        start = time.monotonic()
        self.assertEqual(kv.get(key, index=later, wait="300ms")[0], later)
        self.assertGreaterEqual(time.monotonic() - start, 0.3)

    def test_session_and_lock(self):
        key = unique("lock")
        kv, session = self.client.kv, self.client.session
        self.addCleanup(lambda: kv.delete(key))
        first = session.create(name="first", ttl=60, lock_delay=0)
        second = session.create(behavior="delete", lock_delay=0)
        self.addCleanup(lambda: session.destroy(second))
        self.assertIs(kv.put(key, "1", acquire=first), True)
        self.assertIs(kv.put(key, "2", acquire=second), False)
        self.assertEqual(kv.get(key)[1]["Session"], first)
        self.assertEqual(session.info(first)[1]["Name"], "first")
        self.assertEqual(session.renew(first)["ID"], first)
        self.assertIn(first, [row["ID"] for row in session.list()[1]])
        self.assertIn(first, [row["ID"] for row in session.node(session.info(first)[1]["Node"])[1]])
        self.assertIs(session.destroy(first), True)
        self.assertIsNone(session.info(first)[1])
        self.assertNotIn("Session", kv.get(key)[1])
        eventually("the lock is free", lambda: kv.put(key, "3", acquire=second))
        session.destroy(second)
        self.assertIsNone(kv.get(key)[1], "the session deleted what it held")
        with self.assertRaises(consul.NotFound):
            session.renew(first)

    def test_txn(self):
        key = unique("txn")
        self.addCleanup(lambda: self.client.kv.delete(key))
        value = base64.b64encode(b"v").decode()
        done = self.client.txn.put(
            [{"KV": {"Verb": "set", "Key": key, "Value": value}}, {"KV": {"Verb": "get", "Key": key}}]
        )
        self.assertIsNone(done["Errors"])
        self.assertEqual(done["Results"][1]["KV"]["Value"], value)
        with self.assertRaises(consul.ConsulException) as refused:
            self.client.txn.put([{"KV": {"Verb": "check-not-exists", "Key": key}}])
        self.assertIn("409", str(refused.exception))

    def test_catalog_and_health(self):
        node, service = unique("node"), unique("svc")
        catalog, health = self.client.catalog, self.client.health
        self.addCleanup(lambda: catalog.deregister(node))
        self.assertIs(
            catalog.register(
                node, "10.1.1.1",
                service={"ID": service, "Service": service, "Tags": ["a"], "Port": 80},
                check={"CheckID": service, "Name": "c", "Status": "passing", "ServiceID": service},
            ),
            True,
        )
        self.assertEqual(catalog.service(service)[1][0]["ServicePort"], 80)
        self.assertEqual(catalog.service(service, tag="none")[1], [])
        self.assertEqual(catalog.node(node)[1]["Services"][service]["Tags"], ["a"])
        self.assertIn(node, [row["Node"] for row in catalog.nodes()[1]])
        self.assertEqual(catalog.services()[1][service], ["a"])
        self.assertEqual(catalog.datacenters(), ["dc1"])
        self.assertEqual(health.service(service, passing=True)[1][0]["Node"]["Address"], "10.1.1.1")
        self.assertEqual(health.checks(service)[1][0]["Status"], "passing")
        self.assertIn(service, [row["CheckID"] for row in health.state("passing")[1]])
        self.assertEqual([row["CheckID"] for row in health.node(node)[1]], [service])
        self.assertIs(catalog.deregister(node, check_id=service), True)
        self.assertEqual(health.node(node)[1], [])
        self.assertIs(catalog.deregister(node), True)
        self.assertIsNone(catalog.node(node)[1])

    def test_agent_checks(self):
        name, check = unique("ttl-svc"), self.client.agent.check
        self.client.agent.service.register(name, port=1, check=consul.Check.ttl("1h"))
        self.addCleanup(lambda: requests.put(agent.url(f"/v1/agent/service/deregister/{name}"), timeout=10))
        check_id = f"service:{name}"
        state = lambda: self.client.agent.checks()[check_id]  # noqa: E731
        self.assertEqual((state()["Status"], state()["Type"]), ("critical", "ttl"))
        for verb, status in [(check.ttl_warn, "warning"), (check.ttl_fail, "critical"), (check.ttl_pass, "passing")]:
            self.assertIs(verb(check_id, notes="a note"), True)
            self.assertEqual((state()["Status"], state()["Output"]), (status, "a note"))
        self.assertEqual(self.client.agent.services()[name]["Port"], 1)
        self.assertIs(self.client.agent.service.maintenance(name, True, "why"), True)
        self.assertEqual(self.client.agent.checks()[f"_service_maintenance:{name}"]["Notes"], "why")
        self.client.agent.service.maintenance(name, False)
        own = unique("own")
        self.assertIs(check.register(own, consul.Check.tcp("127.0.0.1", 1, "1h"), check_id=own), True)
        self.assertEqual(self.client.agent.checks()[own]["Type"], "tcp")
        self.assertIs(check.deregister(own), True)
        self.assertNotIn(own, self.client.agent.checks())
        self.assertIs(self.client.agent.service.deregister(name), True)
        self.assertNotIn(check_id, self.client.agent.checks())

    def test_agent_self_and_members(self):
        this = self.client.agent.self()
        self.assertEqual(this["Config"]["Datacenter"], "dc1")
        members = self.client.agent.members()
        self.assertIn(this["Config"]["NodeName"], [member["Name"] for member in members])
        self.assertEqual(members[0]["Status"], 1)
        self.assertTrue(self.client.agent.members(wan=True))

    def test_event(self):
        name = unique("event")
        fired = self.client.event.fire(name, "payload")
        self.assertEqual(fired["Name"], name)
        found = eventually("the event arrives", lambda: self.client.event.list(name)[1])
        self.assertEqual((found[0]["ID"], found[0]["Payload"]), (fired["ID"], b"payload"))

    def test_query(self):
        name, service = unique("query"), unique("queried")
        _server, instance = self.service(service)
        self.passing(service, 1)
        made = self.client.query.create(service, name=name, onlypassing=True, ttl="10s")
        self.addCleanup(lambda: requests.delete(agent.url(f"/v1/query/{made['ID']}"), timeout=10))
        self.assertIn(made["ID"], [row["ID"] for row in self.client.query.list()])
        self.assertEqual(self.client.query.get(made["ID"])[0]["Service"]["Service"], service)
        done = self.client.query.execute(name)
        self.assertEqual([row["Service"]["ID"] for row in done["Nodes"]], [instance])
        self.assertEqual(done["DNS"]["TTL"], "10s")
        self.assertEqual(self.client.query.explain(name)["Query"]["Name"], name)
        self.assertTrue(self.client.query.delete(made["ID"]))
        # A 404 is an answer to the clients: they read its X-Consul-Index.
        gone = self.client.query.get(made["ID"])
        self.assertIsNone(gone[1] if isinstance(gone, tuple) else gone)
        self.assertNotIn(made["ID"], [row["ID"] for row in self.client.query.list()])

    def test_coordinate_status_and_operator(self):
        datacenters = self.client.coordinate.datacenters()
        self.assertEqual(datacenters[0]["Datacenter"], "dc1")
        _index, nodes = self.client.coordinate.nodes()
        self.assertIsInstance(nodes, list)
        leader = self.client.status.leader()
        self.assertEqual(self.client.status.peers(), [leader])
        raft = self.client.operator.raft_config()
        self.assertEqual(raft["Servers"][0]["Address"], leader)

    def test_errors_become_exceptions(self):
        with self.assertRaises(consul.ConsulException) as refused:
            self.client.session.create(node="no-such-node")
        self.assertIn("Missing node registration", str(refused.exception))
        with self.assertRaises(consul.ConsulException):
            self.client.catalog.nodes(dc="no-such-datacenter")


if __name__ == "__main__":
    unittest.main()
