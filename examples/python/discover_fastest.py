#!/usr/bin/env python3
"""Finds the instance of a service that answers fastest right now.

    discover_fastest.py web --path /health --tries 3 --bound 1.0

Asks the agent for the instances whose checks all pass, asks each of them the same question at the same time, and
prints the one with the shortest answer time. An instance that is slower than the bound, or broken, does not count.

With --near the agent sorts by its own estimate of the round trip to each node (`?near=_agent`) and nothing is timed:
cheaper, but it knows the distance of nodes, not how busy an instance is.
"""

import argparse
import concurrent.futures
import sys
import time

import requests

import agent

# Asking more instances than this at once would measure ourselves.
MAX_CANDIDATES = 32


def passing(name, near=None, tag=None):
    """The passing instances of a service as (id, address, port); with `near` the closest node comes first."""
    query = {"passing": "true"}
    if near:
        query["near"] = near
    if tag:
        query["tag"] = tag
    answer = requests.get(agent.url(f"/v1/health/service/{name}"), params=query, timeout=10)
    answer.raise_for_status()
    return [
        (row["Service"]["ID"], row["Service"]["Address"] or row["Node"]["Address"], row["Service"]["Port"])
        for row in answer.json()
    ]


def time_one(instance, path, tries, bound):
    """The best of some tries in seconds, or None when none succeeds within the bound."""
    _id, address, port = instance
    best = None
    with requests.Session() as session:
        for _ in range(tries):
            start = time.perf_counter()
            try:
                session.get(f"http://{address}:{port}{path}", timeout=bound).raise_for_status()
            except requests.RequestException:
                continue
            took = time.perf_counter() - start
            # The timeout of requests is per read; a trickling answer may take longer and is too slow all the same.
            if took <= bound and (best is None or took < best):
                best = took
    return best


def fastest(name, path="/", tries=3, bound=1.0, tag=None):
    """All passing instances with their times, fastest first: a list of (seconds, (id, address, port))."""
    candidates = passing(name, tag=tag)[:MAX_CANDIDATES]
    if not candidates:
        return []
    with concurrent.futures.ThreadPoolExecutor(max_workers=len(candidates)) as pool:
        times = pool.map(lambda instance: time_one(instance, path, tries, bound), candidates)
        timed = [(took, instance) for took, instance in zip(times, candidates) if took is not None]
    return sorted(timed)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("name")
    parser.add_argument("--path", default="/", help="what every instance is asked for")
    parser.add_argument("--tries", type=int, default=3, help="the best of so many counts")
    parser.add_argument("--bound", type=float, default=1.0, help="seconds after which an instance is out of the race")
    parser.add_argument("--tag")
    parser.add_argument("--near", action="store_true", help="trust the agent's estimate instead of timing")
    given = parser.parse_args()
    if given.near:
        found = passing(given.name, near="_agent", tag=given.tag)
        lines = [f"{address}:{port} {instance}" for instance, address, port in found]
    else:
        timed = fastest(given.name, given.path, given.tries, given.bound, given.tag)
        lines = [f"{address}:{port} {instance} {took * 1000:.1f}ms" for took, (instance, address, port) in timed]
    if not lines:
        sys.exit(f"no passing instance of {given.name} answers within {given.bound}s")
    print(lines[0])


if __name__ == "__main__":
    main()
